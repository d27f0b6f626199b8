"""A data folder as a tree of the folders that hold images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.training.folders.walk import Parts


@dataclass(slots=True)
class Folder:
    """A folder that holds images, itself or further down."""

    parts: Parts
    images: list[Parts] = field(default_factory=list)
    folders: dict[str, "Folder"] = field(default_factory=dict)

    def walk(self) -> Iterator[Parts]:
        """Go through all images, those of this folder first."""
        yield from self.images
        for folder in self.folders.values():
            yield from folder.walk()

    def count(self) -> int:
        """Count them."""
        return sum(1 for _ in self.walk())


def grow(images: Iterable[Parts]) -> Folder:
    """Sort images into the tree of their folders."""
    tree = Folder(())
    for path in images:
        here = tree
        for depth, name in enumerate(path[:-1]):
            here = here.folders.setdefault(name, Folder(path[: depth + 1]))
        here.images.append(path)
    return tree
