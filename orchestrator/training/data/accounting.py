"""An account of the files of a data folder: each is used, or left out for a reason that is said."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.training.data.quality import LeftOut
from orchestrator.training.folders.kinds import HEAD, FileKind, find_kind, needs_head
from orchestrator.training.folders.split_names import canonical_name
from orchestrator.training.folders.walk import LARGEST_IMAGE, Listing, Parts, show
from orchestrator.training.problems import Problems

_SHOWN = 3
_MOST_GROUPS = 10
_TOO_LARGE = f"have more than {LARGEST_IMAGE // 2**20} MiB, which no image has"
UNREAD_HINT = "convert them, move them to where they belong or take them away; or leave them out: data.on_unread: skip"


@dataclass(slots=True)
class Account:
    """The files of a data folder, and what becomes of them.

    Attributes:
        kinds: What each regular file is; unread ones, and those left out, go from here.
    """

    kinds: dict[Parts, FileKind] = field(default_factory=dict)
    _unread: dict[str, list[Parts]] = field(default_factory=dict)
    _other: dict[str, list[Parts]] = field(default_factory=dict)

    def find(self, role: str) -> list[Parts]:
        """List the files of a role."""
        return [path for path, kind in self.kinds.items() if kind.role == role]

    def leave(self, paths: Iterable[Parts], reason: str, *, unread: bool) -> None:
        """Leave files out.

        Args:
            paths: Which.
            reason: What they are; of unread ones, why they cannot be used, as a predicate of many.
            unread: They look like something to be used.
        """
        for path in paths:
            self.kinds.pop(path, None)
            (self._unread if unread else self._other).setdefault(reason, []).append(path)

    def leave_rest(self) -> None:
        """Leave out what is no image and no table."""
        for path, kind in list(self.kinds.items()):
            if kind.role == "unread":
                self.leave([path], kind.reason, unread=True)
            elif kind.role in {"archive", "metadata", "other"}:
                self.leave([path], kind.reason, unread=False)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """All that is left out, what should perhaps be used first."""
        return tuple(
            LeftOut(reason=reason, unread=unread, names=tuple(show("/".join(path)) for path in sorted(paths)))
            for unread, groups in ((True, self._unread), (False, self._other))
            for reason, paths in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
        )


def take_stock(listing: Listing, read_head: Callable[[Parts, int], bytes]) -> Account:
    """Find out what each file of a data folder is, by its name and its first bytes.

    Args:
        listing: What lies there.
        read_head: Reads the first bytes of a file, so many.
    """
    account = Account()
    for file in listing.files:
        name = file.parts[-1]
        head = read_head(file.parts, HEAD) if needs_head(name) and file.size else b""
        kind = find_kind(name, head)
        too_large = kind.role == "image" and file.size > LARGEST_IMAGE
        account.kinds[file.parts] = FileKind("unread", _TOO_LARGE) if too_large else kind
    for path, what in listing.special:
        unread = not needs_head(path[-1])
        account.leave([path], f"are {what}, no regular file" if unread else f"no regular file: {what}", unread=unread)
    account.leave(listing.hidden, "hidden files", unread=False)
    return account


def report_left_out(left_out: Iterable[LeftOut], source: str, problems: Problems, *, fail: bool) -> list[str]:
    """Note unread files as problems, or in a note where that is allowed; give one note on all others."""
    notes, others = [], []
    for group in left_out:
        if not group.unread:
            others.append(group)
        elif fail:
            problems.add(f"{source}: {group}", hint=UNREAD_HINT)
        else:
            notes.append(f"{source}: {group}; left out (data.on_unread=skip)")
    if others:
        count = sum(len(group.names) for group in others)
        named = ", ".join(map(str, others[:_MOST_GROUPS]))
        rest = f" and {len(others) - _MOST_GROUPS} more kinds" if len(others) > _MOST_GROUPS else ""
        are = "1 file that is no image is" if count == 1 else f"{count} files that are no images are"
        notes.append(f"{source}: {are} left out: {named}{rest}")
    return notes


def refuse_links(listing: Listing, source: str) -> None:
    """Make sure that no symbolic link leaves a data folder, points at nothing or leads back.

    Raises:
        ConfigError: Some do; they are named.
    """
    problems = Problems()
    for links, what, hint in (
        (
            listing.leaving,
            "lead out of the folder",
            "copy the files into the folder: what lies elsewhere is not read; or set data.follow_links to true",
        ),
        (listing.dangling, "point at nothing", "remove the links, or bring the files back"),
        (listing.circular, "lead to themselves or to a folder that they lie in", "remove the links"),
    ):
        if links:
            named = sorted(f"{show('/'.join(path))} -> {show(target)}" for path, target in links)
            shown = ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
            problems.add(f"data.source: {source}: {len(links)} symbolic links {what}: {shown}", hint=hint)
    if listing.closed:
        path, reason = listing.closed[0]
        problems.add(
            f"data.source: {source}: {len(listing.closed)} files or folders cannot be looked at, such as "
            f"{show('/'.join(path) or '.')}: {reason}",
            hint="let this user read them, or take them away",
        )
    problems.raise_any()


def note_empty_folders(
    folder: Path, listing: Listing, class_names: Iterable[str], source: str, problems: Problems
) -> None:
    """Note folders of splits and classes without a file, which nobody would miss otherwise."""
    names = set(class_names)
    filled: set[Parts] = {()}
    for path in (*(file.parts for file in listing.files), *(path for path, _ in listing.special)):
        filled |= {path[:depth] for depth in range(1, len(path))}
    for path in listing.folders:
        if path in filled or path[:-1] not in filled:
            continue
        where, name = show(folder.joinpath(*path)), show(path[-1])
        if canonical_name(path[-1]) is not None:
            problems.add(
                f"{source}: split {name} is empty: {where} holds no file",
                hint="put its images there, or remove the folder: a missing validation or test split is split off",
            )
        elif path[-1] not in names:
            problems.add(
                f"{source}: class {name} has no images: {where} holds no file",
                hint="put its images there, or remove the folder",
            )


def require_text(names: Iterable[str], source: str) -> None:
    """Make sure that the names of classes are text.

    Raises:
        ConfigError: One of them holds bytes that are none.
    """
    strange = [show(name) for name in names if not name.isprintable() or "\\x" in show(name).replace(name, "")]
    if strange:
        raise ConfigError(
            f"data.source: {source}: names of classes must be text in one line: {', '.join(strange)}",
            hint="rename the folders",
        )


def count_kinds(kinds: Mapping[Parts, FileKind]) -> str:
    """Write how many files of each kind there are."""
    counts: dict[str, int] = {}
    for kind in kinds.values():
        what = kind.reason if kind.role not in {"image", "unread"} else "images"
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing"
