"""What can be told of an experiment's weights and data before the libraries load that read them, in about a second."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backbones import BACKBONES
from orchestrator.config.models import DataConfig, Experiment, ModelConfig
from orchestrator.config.sources import SOURCES, find_stored
from orchestrator.discovery import TORCHVISION
from orchestrator.errors import ConfigError, OrchestratorError, SetupError
from orchestrator.training.folders.archive import Archive
from orchestrator.training.folders.labelled import require_list
from orchestrator.training.network.weight_files import check_weight_file, read_weight_file
from orchestrator.training.network.weight_names import RANDOM_WEIGHTS, cached_file, is_weight_path, unknown_name

_OTHER_SWEEP = "sweep:"
_PATIENCE_S = 2.0
"""Seconds that looking through a data folder may take."""
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precheck:
    """What was found.

    Attributes:
        mistakes: What keeps the experiment from running.
        notes: What is there, a sentence each.
        unchecked: What only a run finds out, a phrase each.
        files: Files that say what the classes are; None where the data are on the hub.
    """

    mistakes: tuple[OrchestratorError, ...] = ()
    notes: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    files: int | None = None

    def raise_any(self) -> None:
        """Raise all mistakes as one error; a mistake of the configuration outweighs one of the machine.

        Raises:
            ConfigError: Weights or data are not there, or are of another kind.
            SetupError: What was downloaded before is damaged.
        """
        if not self.mistakes:
            return
        count = [f"{len(self.mistakes)} mistakes"] if len(self.mistakes) > 1 else []
        message = "\n".join([*count, *(error.message for error in self.mistakes)])
        hints = [error.hint for error in self.mistakes if error.hint]
        kind = ConfigError if any(isinstance(error, ConfigError) for error in self.mistakes) else SetupError
        raise kind(message, hint="\n".join(hints) or None)


def check_inputs(experiment: Experiment, *, deep: bool = False) -> Precheck:
    """Look whether the weights and data of an experiment are there, as far as that can be told at once.

    Args:
        experiment: The experiment.
        deep: Look into a downloaded file of weights too, which a run reads in any case.
    """
    found = [_check_weights(experiment.model, deep=deep), _check_data(experiment.data)]
    return Precheck(
        mistakes=tuple(mistake for each in found for mistake in each.mistakes),
        notes=tuple(note for each in found for note in each.notes),
        unchecked=tuple(text for each in found for text in each.unchecked),
        files=found[-1].files,
    )


def _check_weights(model: ModelConfig, *, deep: bool) -> Precheck:
    # what is not registered may have to be found, which takes torch
    files = BACKBONES.find(model.backbone).files if model.backbone in BACKBONES else {}
    if model.weights == RANDOM_WEIGHTS:
        return Precheck(notes=("model.weights: none, the network starts from random values",))
    if model.weights.startswith(_OTHER_SWEEP) or (
        not files and model.backbone in TORCHVISION and not is_weight_path(model.weights)
    ):
        return Precheck(unchecked=(f"model.weights {model.weights}",))
    try:
        if model.weights in files:
            return _check_download(model, deep=deep)
        if not is_weight_path(model.weights):
            raise unknown_name(model, list(files))
        path = Path(model.weights).expanduser()
        check_weight_file(path, model.backbone)
    except OrchestratorError as error:
        return Precheck(mistakes=(error,))
    return Precheck(notes=(f"model.weights: {path} holds the weights of a {model.backbone}, all of them finite",))


def _check_download(model: ModelConfig, *, deep: bool) -> Precheck:
    file = cached_file(model.backbone, model.weights)
    if not file.exists():
        return Precheck(unchecked=(f"weights {model.weights} of {model.backbone}: not in the cache ({file}) yet",))
    if deep:
        try:
            read_weight_file(file)
        except ConfigError as error:
            reason = error.message.removeprefix(f"model.weights: {file} ")
            message = f"the cached weights {file} cannot be used: the file {reason}"
            raise SetupError(message, hint=f"delete {file}: it is downloaded again") from error
    return Precheck(notes=(f"model.weights: {model.weights} of {model.backbone} are in the cache ({file})",))


def _check_data(config: DataConfig) -> Precheck:
    if config.source in SOURCES:
        return Precheck()
    try:
        found: Precheck = find_stored(config.source).check(config)
    except OSError as error:
        reason = f"data.source: {config.source} cannot be reached: {error.strerror}"
        return Precheck(mistakes=(ConfigError(reason, hint="check the path, its owner and mode (ls -ld)"),))
    except ConfigError as error:
        return Precheck(mistakes=(error,))
    return found


def check_list(path: Path, config: DataConfig) -> Precheck:
    """Look at a CSV of paths and labels.

    Raises:
        ConfigError: It is none.
    """
    require_list(path, config.source)
    return Precheck(unchecked=(f"the images that {config.source} lists",), files=1)


def check_archive(path: Path, config: DataConfig) -> Precheck:
    """Look at the list of files in a zip archive.

    Raises:
        ConfigError: It is no whole archive, holds what must not be read, or holds no file.
    """
    listing = Archive(path, config.source).list()
    if not listing.files:
        raise ConfigError(f"data.source: {config.source} holds no file", hint="pack a folder of images a class")
    kinds = Counter(Path(file.parts[-1]).suffix.lower() for file in listing.files)
    shown = ", ".join(f"{count:,} {kind or 'without suffix'}" for kind, count in kinds.most_common(5))
    return Precheck(
        notes=(f"data.source: {config.source} is a zip archive of {kinds.total():,} files: {shown}",),
        unchecked=(f"the images in {config.source} (`orchestrator data check` reads every one)",),
        files=kinds.total(),
    )


def _nearest(place: Path) -> Path | None:
    """Find the deepest folder above a path that is there; None where that is the root or the folder one is in."""
    found = next((parent for parent in place.parents if parent.is_dir()), None)
    return None if found is None or found in {Path("/"), Path()} else found


def check_folder(folder: Path, config: DataConfig) -> Precheck:
    """Look into a data folder, without opening a file.

    Raises:
        ConfigError: It cannot be read, or is empty.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(
            f"data.source: {config.source} cannot be read: its mode does not let you",
            hint="check the folder's owner and mode (ls -ld)",
        )
    kinds, whole = _count_kinds(folder)
    if not kinds and whole:
        raise ConfigError(f"data.source: {config.source} holds no file", hint="put a folder of images a class there")
    shown = ", ".join(f"{count:,} {kind or 'without suffix'}" for kind, count in kinds.most_common(5))
    more = "" if whole else "more than "
    unchecked = [f"the images in {config.source} (`orchestrator data check` reads every one)"]
    if config.revision is not None:
        unchecked.append(f"data.revision {config.revision!r}: a folder has none, and it changes nothing")
    return Precheck(
        notes=(f"data.source: {config.source} is a folder of {more}{kinds.total():,} files: {shown}",),
        unchecked=tuple(unchecked),
        files=kinds.total(),
    )


def _count_kinds(folder: Path) -> tuple[Counter[str], bool]:
    """Count the files of a folder by suffix; and whether the time was enough for all of them."""
    deadline = time.monotonic() + _PATIENCE_S
    kinds: Counter[str] = Counter()
    for path, _, names in os.walk(folder):
        kinds.update(Path(name).suffix.lower() for name in names if not name.startswith("."))
        if time.monotonic() > deadline and path != str(folder):
            return kinds, False
    return kinds, True


def check_hub(path: Path, config: DataConfig) -> Precheck:
    """Look for a data set of the hub in its caches.

    Raises:
        ConfigError: Its name is that of no such data set, but of a path that is not there, or of nothing.
    """
    source, revision = config.source, config.revision
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        near = _nearest(path)
        hint = f"{path} does not exist, but {near} does" if near else "give a folder, a hub name, or `synthetic`"
        raise ConfigError(f"data.source: {source} does not exist", hint=hint)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise ConfigError(
            f"data.source: {source!r} is no folder and no name of a hub data set",
            hint="give a folder, a hub name such as owner/name, or `synthetic`",
        )
    what = f"hub data set {source}{f' at revision {revision}' if revision else ''}"
    places = [*_cached(source, revision)]
    if places:
        return Precheck(
            notes=(f"data.source: the {what} is in the cache ({places[0]})",),
            unchecked=(f"columns, classes and images of the {what}",),
        )
    offline = [f"{name}={value}" for name in _OFFLINE if (value := os.environ.get(name, "")) not in ("", "0")]
    why = f", and {offline[0]} forbids to download it" if offline else ""
    return Precheck(unchecked=(f"{what}: not in the cache{why}; whether the hub has it, and what it holds",))


def _cached(source: str, revision: str | None) -> Iterator[Path]:
    """List where the caches of Hugging Face keep a data set."""
    from huggingface_hub import constants

    downloaded = Path(constants.HF_HUB_CACHE) / f"datasets--{source.replace('/', '--')}"
    names = [revision] if revision else ["*"]
    refs = [file.read_text() for name in names for file in downloaded.glob(f"refs/{name}") if file.is_file()]
    for commit in [*refs, *names]:
        yield from downloaded.glob(f"snapshots/{commit}/")
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()
    if revision is None and prepared.is_dir():
        wanted = _plain(source.replace("/", "___"))
        yield from (path for path in prepared.iterdir() if path.is_dir() and _plain(path.name) == wanted)


def _plain(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()
