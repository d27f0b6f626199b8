"""The parts of a data folder that `data.splits` names."""

import json
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.config.splits import SplitsConfig
from orchestrator.errors import ConfigError
from orchestrator.training.folders.walk import Parts, show

if TYPE_CHECKING:
    from orchestrator.training.folders.tree import Folder

_PLAIN = re.compile(r"[\w./-]+")


def place_told(splits: SplitsConfig, source: str) -> dict[Parts, str]:
    """Return the split of each part that was told, by its path in the data folder.

    Raises:
        ConfigError: A part lies outside the folder, or in another part.
    """
    found: dict[Parts, str] = {}
    for split, place in splits.items():
        path = PurePosixPath(place)
        if path.is_absolute() or ".." in path.parts:
            raise ConfigError(
                f"data.splits.{split}: {show(place)} does not lie in {source}", hint="name it relative to data.source"
            )
        for other in found:
            shorter = min(len(other), len(path.parts))
            if other[:shorter] == path.parts[:shorter]:
                raise ConfigError(
                    f"data.splits: {show(place)} ({split}) and {tell(other)} ({found[other]}) share files",
                    hint="each part may belong to one split only",
                )
        found[path.parts] = split
    return found


def find_told(tree: "Folder", splits: SplitsConfig, source: str) -> tuple[dict[str, list["Folder"]], list[Parts]]:
    """Find the folders that were told, by split, and the images that lie in none of them.

    Raises:
        ConfigError: One of them holds no images.
    """
    places = place_told(splits, source)
    found: dict[str, list[Folder]] = {}
    for parts, split in places.items():
        here = tree
        for depth, name in enumerate(parts):
            if name not in here.folders:
                raise refuse_place(split, parts, source, _below(tree, parts[:depth]))
            here = here.folders[name]
        found.setdefault(split, []).append(here)
    outside = [path for path in tree.walk() if not any(path[: len(parts)] == parts for parts in places)]
    return found, outside


def refuse_place(split: str, parts: Parts, source: str, there: Iterable[str]) -> ConfigError:
    """Describe a part that was told and is not there."""
    names = ", ".join(map(show, there)) or "nothing"
    return ConfigError(
        f"data.splits.{split}: {source} has no images in {tell(parts)}; there is {names}",
        hint="name a folder or a Parquet file relative to data.source; `.` is all of it",
    )


def tell(parts: Parts) -> str:
    """Write a part as a user tells it in YAML."""
    text = "/".join(parts) or "."
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _below(tree: "Folder", parts: Parts) -> list[str]:
    here = tree
    for name in parts:
        here = here.folders[name]
    return ["/".join((*parts, name)) for name in here.folders]
