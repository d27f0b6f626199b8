"""Folders of classes, in a folder or in an archive."""

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.accounting import Account, note_empty_folders, require_text
from orchestrator.training.data.contents import Contents
from orchestrator.training.data.opened import Opened
from orchestrator.training.data.rows import StoredRows
from orchestrator.training.folders.labelled import SUFFIXES
from orchestrator.training.folders.layouts import Layout, read_layout
from orchestrator.training.folders.walk import Parts, show


def open_class_folders(here: Contents) -> Opened:
    """Read the folders of classes.

    Args:
        here: What lies in a folder or an archive.

    Raises:
        ConfigError: There are no classes, or there is more than one reading.
    """
    config, account = here.config, here.account
    seen = [path for path, kind in account.kinds.items() if kind.role in {"image", "unread"}]
    layout = read_layout(seen, here.source, splits=config.splits, class_folder=config.class_folder)
    account.leave(account.find("table"), "are tables beside images", unread=True)
    for path, reason in layout.loose:
        if account.kinds[path].role == "image":
            account.leave([path], reason, unread=True)
    here.notes += [*layout.notes, *_note_renamed(account, here.source)]
    names = tuple(sorted({label for labelled in layout.images.values() for _, label in labelled}))
    require_text(names, here.source)
    _note_one_folder(here, names)
    rows = _list_files(here, layout, names)
    _check_columns(config)
    note_empty_folders(here.path, here.listing, names, here.source, here.problems)
    here.close()
    return here.opened(rows, names, files=len(account.find("image")), reading=layout.reading)


def _note_one_folder(here: Contents, names: tuple[str, ...]) -> None:
    """Note images that lie in one folder beside a list, which may be the one of their labels."""
    lists = [path for path in here.account.kinds if path[-1].lower().endswith(SUFFIXES)]
    if len(names) == 1 and lists:
        here.problems.add(
            f"data.source: {here.source}: all images lie in one folder only ({show(names[0])}), and "
            f"{show('/'.join(lists[0]))} may hold their labels",
            hint=f"point data.source at it, if it has the columns path and label: {show(here.file(lists[0]))}"
            if here.path.is_dir()
            else "unpack the archive, and point data.source at that list if it has the columns path and label",
        )


def _list_files(here: Contents, layout: Layout, names: tuple[str, ...]) -> dict[str, StoredRows]:
    numbers = {name: number for number, name in enumerate(names)}
    rows: dict[str, StoredRows] = {}
    for split, labelled in layout.images.items():
        usable = sorted((path, label) for path, label in labelled if here.account.kinds[path].role == "image")
        if usable:
            rows[split] = here.rows([path for path, _ in usable], [numbers[label] for _, label in usable])
    return rows


def _check_columns(config: DataConfig) -> None:
    for key, value, there in (("image", config.image_column, "image"), ("label", config.label_column, "label")):
        if value not in {None, there}:
            raise ConfigError(
                f"data.{key}_column: {config.source} has no column {value!r}; as a folder of images it has image, label"
            )


def _note_renamed(account: Account, source: str) -> list[str]:
    """Note images that are called by one format and hold another that can be decoded."""
    groups: dict[str, list[Parts]] = {}
    for path, kind in account.kinds.items():
        if kind.role == "image" and kind.reason:
            groups.setdefault(kind.reason, []).append(path)
    return [
        f"{source}: {len(paths)} images {reason}, and are read as that, such as {show('/'.join(paths[0]))}"
        for reason, paths in groups.items()
    ]
