"""What the `datasets` library loads: data sets of the hub, Parquet files, and what `save_to_disk` wrote."""

import errno
import glob
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError, DatasetsError
from datasets.info import DatasetInfosDict
from huggingface_hub.errors import HfHubHTTPError

from orchestrator.config.front_matter import read_front_matter
from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.folders.walk import show

# the HTTP library's base class stands among the bases of the client's own error, whichever library that is
_HUB_ERRORS = tuple(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)
_UNUSABLE = (DataFilesNotFoundError, EmptyDatasetError, DatasetsError, ValueError, RuntimeError)
_CACHE_FULL = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_SCRIPT = "scripts are no longer supported"
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
_OFFLINE_HINT = (
    "connect once, or set HF_HUB_OFFLINE=1 if it is cached, or point data.source at a local folder; "
    "`make demo` needs no download"
)
_CACHE_HINT = "set HF_HOME to a folder that can be written and has room"


class _TornError(SetupError):
    """The library's own copy of a data set is damaged and could not be made again; the cause says why not."""

    def __init__(self, damage: Exception) -> None:
        super().__init__(_first_line(damage))


def load_hub(config: DataConfig) -> tuple[dict[str, Dataset], list[str]]:
    """Load a data set of the hub, or what the cache has of it.

    Returns:
        The stored splits by their names, and what a user should hear.

    Raises:
        ConfigError: It cannot be read as a data set.
        SetupError: Neither network nor cache has it, or the cache cannot be written.
    """
    _require_cache()
    try:
        with _quiet(hide=not sys.stderr.isatty()):
            found, notes = _load_twice(
                lambda mode: datasets.load_dataset(config.source, revision=config.revision, download_mode=mode),
                config.source,
            )
    except DatasetNotFoundError as error:
        raise SetupError(
            f"data.source: the hub has no data set {config.source!r} (revision {config.revision or 'newest'}), "
            f"or it is private: {error}",
            hint="check the name and `hf auth login`",
        ) from error
    except _TornError as error:
        _raise_if_full(error)
        raise SetupError(
            f"the copy of {config.source} that the datasets library keeps in {datasets.config.HF_DATASETS_CACHE} is "
            f"damaged ({error}), and could not be made again: {_first_line(error.__cause__ or error)}",
            hint="connect once, or remove the folder of this data set there",
        ) from error
    except _UNUSABLE as error:
        _raise_if_full(error)
        raise _unusable(config.source, error) from error
    except _HUB_ERRORS as error:
        _raise_if_full(error)
        raise SetupError(
            f"data.source: {config.source!r} (revision {config.revision or 'newest'}) is not in the cache "
            f"({datasets.config.HF_DATASETS_CACHE}) and cannot be downloaded: {error}",
            hint=_OFFLINE_HINT,
        ) from error
    if not isinstance(found, DatasetDict):
        raise ConfigError(f"data.source: {config.source} gives a {type(found).__name__}, not splits")
    return dict(found), notes


def find_features(folder: Path, files: Mapping[str, Sequence[Path]]) -> Features | None:
    """Return the types of the columns as the README of a data set has them, where its Parquet files do not.

    Args:
        folder: The data folder.
        files: Its Parquet files by split.
    """
    first = next(iter(files.values()))[0]
    if first.suffix.lower() != ".parquet" or b"huggingface" in (pq.read_schema(first).metadata or {}):
        return None
    info = read_front_matter(folder / "README.md").get("dataset_info")
    if not isinstance(info, dict) or not info.get("features"):
        return None
    try:
        card = {"dataset_info": {"features": info["features"]}}
        return DatasetInfosDict.from_dataset_card_data(card)["default"].features
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def load_tables(
    files: Mapping[str, Sequence[Path]], counts: Mapping[str, int], source: str, features: Features | None = None
) -> tuple[dict[str, Dataset], list[str]]:
    """Load Parquet or Arrow files through the library's cache.

    Args:
        files: Files of each split, all of one kind.
        counts: Rows that each split must have; a split that is not in it is not counted.
        source: Name of the data set, for messages.
        features: Types of the columns; None: as the files have them.

    Raises:
        ConfigError: They cannot be read.
        SetupError: The cache cannot be written.
    """
    _require_cache()
    (suffix,) = {path.suffix.lower() for paths in files.values() for path in paths}
    every = {split: [glob.escape(str(path)) for path in paths] for split, paths in files.items()}

    def load(mode: str) -> DatasetDict:
        loaded = datasets.load_dataset(_BUILDERS[suffix], data_files=every, download_mode=mode, features=features)
        if any(len(loaded[split]) != count for split, count in counts.items()):
            raise EOFError(f"the library's copy has {[len(loaded[s]) for s in counts]} rows, not {[*counts.values()]}")
        return loaded

    try:
        with _quiet(hide=True):
            found, notes = _load_twice(load, source)
    except (*_UNUSABLE, *_HUB_ERRORS, _TornError) as error:
        _raise_if_full(error)
        raise _unusable(source, error) from error
    return dict(found), notes


def load_saved(folder: Path, source: str) -> dict[str, Dataset]:
    """Load what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; a single data set is `train`.

    Raises:
        ConfigError: It is not whole.
    """
    try:
        with _quiet(hide=True):
            found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, TypeError, LookupError, pa.ArrowException) as error:
        raise ConfigError(
            f"data.source: {source} was written by `save_to_disk` and cannot be read as a data set: "
            f"{_first_line(error)}",
            hint="write it again with `save_to_disk`",
        ) from error
    return dict(found) if isinstance(found, DatasetDict) else {"train": found}


def list_saved(folder: Path) -> set[tuple[str, ...]] | None:
    """List the files of a data set that `save_to_disk` wrote, relative to its folder; None: it wrote none there."""
    splits = _read_json(folder / "dataset_dict.json").get("splits")
    if isinstance(splits, list):
        files: set[tuple[str, ...]] = {("dataset_dict.json",)}
        for split in map(str, splits):
            files |= {(split, *file) for file in _list_state(folder / split)}
        return files
    return _list_state(folder) or None


def _list_state(folder: Path) -> set[tuple[str, ...]]:
    data_files = _read_json(folder / "state.json").get("_data_files")
    if not isinstance(data_files, list):
        return set()
    names = [str(file.get("filename")) for file in data_files if isinstance(file, dict)]
    return {("state.json",), ("dataset_info.json",), *((name,) for name in names)}


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size < 2**26 else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _load_twice(load: Callable[[str], DatasetDict], source: str) -> tuple[DatasetDict, list[str]]:
    """Load through the library's cache; where its copy is torn, have it made again."""
    try:
        return load("reuse_dataset_if_exists"), []
    except Exception as error:
        if not _may_be_torn(error):
            raise
        first = error
    _remove_torn_infos()
    try:
        found = load("reuse_cache_if_exists")
    except (*_UNUSABLE, *_HUB_ERRORS, EOFError) as error:
        raise _TornError(first) from error
    note = f"{source}: the copy that the datasets library keeps in {datasets.config.HF_DATASETS_CACHE} was damaged"
    return found, [f"{note}, and was made again"]


def _remove_torn_infos() -> None:
    """Remove the library's descriptions of data sets that are cut off: it reads them even to make them again."""
    for path in Path(datasets.config.HF_DATASETS_CACHE).rglob("dataset_info.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            path.unlink(missing_ok=True)
        except OSError:
            continue


def _may_be_torn(error: Exception) -> bool:
    """Return whether an error may come from the library's own files: `OSError` without a number is pyarrow's."""
    if isinstance(error, (DataFilesNotFoundError, DatasetNotFoundError, ConnectionError, TimeoutError)):
        return False
    torn = isinstance(error, (pa.ArrowException, json.JSONDecodeError, EOFError, LookupError, TypeError))
    return torn or type(error) is FileNotFoundError or (type(error) is OSError and error.errno is None)


def _require_cache() -> None:
    """Make sure that the library can write its cache: it would blame the data set."""
    folder = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass
    except OSError as error:
        raise _refuse_cache(error) from error


def _raise_if_full(error: BaseException) -> None:
    """Raise a `SetupError` where the reason of an error is that the cache cannot be written.

    The files of the data set were read before, so that no other file is meant.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _CACHE_FULL:
            raise _refuse_cache(seen) from error
        seen = seen.__cause__ or seen.__context__


def _refuse_cache(error: OSError) -> SetupError:
    return SetupError(
        f"the cache of the datasets library ({datasets.config.HF_DATASETS_CACHE}) cannot be written: "
        f"{error.strerror or error}",
        hint=_CACHE_HINT,
    )


def _unusable(source: str, error: Exception) -> ConfigError:
    reason = _first_line(error.__cause__ or error)
    if _SCRIPT in reason:
        return refuse_script(source, reason.rpartition(" ")[2])
    return ConfigError(
        f"data.source: {source} cannot be read as a data set: {reason}",
        hint="a folder holds Parquet files named train-, validation- and test-, or a folder of images a class",
    )


def refuse_script(source: str, script: str) -> ConfigError:
    """Describe a data set that a program would have to load."""
    return ConfigError(
        f"data.source: {source} has a loading script ({show(script)}); a script is a program, "
        "would need trust_remote_code, and is never run",
        hint="convert the data set to Parquet or to a folder of images, and point data.source there",
    )


def _first_line(error: BaseException) -> str:
    return show(str(error).partition("\n")[0] or type(error).__name__)


@contextmanager
def _quiet(*, hide: bool) -> Iterator[None]:
    shown = datasets.is_progress_bar_enabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
