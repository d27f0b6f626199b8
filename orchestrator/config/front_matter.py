"""The YAML head of a README, as data sets carry it."""

from pathlib import Path

import yaml

_LARGEST = 2**20


def read_front_matter(file: Path) -> dict[str, object]:
    """Read the mapping between the first two lines of `---`; empty where there is none that can be read."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return {}
        text = file.read_text(encoding="utf-8")
        if not text.startswith("---"):
            return {}
        found = yaml.load(text[3:].partition("\n---")[0], Loader=yaml.CSafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
