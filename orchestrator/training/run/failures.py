"""Why a training failed: foreign exceptions become a `RunError` with a cause, where the cause is known."""

import re
import traceback
from collections.abc import Iterator
from types import TracebackType

import torch

from orchestrator.errors import OrchestratorError, RunError
from orchestrator.training.data.encoded import REPAIR_HINT

_OUT_OF_MEMORY = re.compile(
    r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|can't allocate memory", re.IGNORECASE
)
_DEAD_LOADER = re.compile(r"DataLoader worker \(pid.*\) (is killed by|exited unexpectedly)")
_FROM_LOADER = re.compile(r"Caught (?P<kind>\w+) in (?:DataLoader worker|pin memory thread)")
_OF_CUDA = re.compile(
    r"CUDA (error|driver)|cuda(Error|StreamCapture)|stream is capturing|cu(BLAS|DNN)_STATUS", re.IGNORECASE
)
"""What a GPU raises wherever it is next asked for something: a thread that pins batches may well be the first."""
_LOADER_ROOMS = ("torch.utils.data.", "orchestrator.training.data")
_HANDOVER = "torch.multiprocessing.reductions"
"""Where a batch is taken from the process that loaded it, which has to be alive for that."""
_SENDER_GONE = (EOFError, ConnectionError, FileNotFoundError)


def explain(error: Exception) -> RunError | None:
    """Explain why a training failed; None where only the exception itself can tell."""
    if isinstance(error, RunError):
        return error
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(text)
    ):
        return RunError(
            f"out of memory: {text.strip() or type(error).__name__}",
            hint="lower data.batch_size, data.image_size or execution.workers",
            cause="out_of_memory",
        )
    if not _passes(error, *_LOADER_ROOMS) or _OF_CUDA.search(text):
        return None
    died = None
    if _DEAD_LOADER.search(text):
        died = f"a loader process died: {text}"
    elif isinstance(error, _SENDER_GONE) and _passes(error, _HANDOVER):
        died = f"a loader process died before it had handed a batch over: {type(error).__name__}"
    if died is not None:
        return RunError(died, hint="too little memory? see the system's log", cause="died")
    return _explain_loader(error)


def _explain_loader(error: Exception) -> RunError:
    if match := _FROM_LOADER.match(str(error)):  # torch puts the traceback of the process into the message
        message, ours = _last_exception(str(error)), isinstance(error, OrchestratorError)
        kind = "" if ours else f"{match['kind']}: "
        hint = REPAIR_HINT if ours else str(error)
        return RunError(f"{kind}{message}", hint=hint, cause="data")
    if isinstance(error, OrchestratorError):
        return RunError(error.message, hint=error.hint, cause="data")
    return RunError(
        f"{type(error).__name__}: {error}", hint="".join(traceback.format_exception(error)).strip(), cause="data"
    )


def _last_exception(text: str) -> str:
    """Take the message of the last exception out of a printed traceback."""
    lines = text.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    start = next(
        (number for number in range(max(frames, default=0), len(lines)) if not lines[number].startswith(" ")), 0
    )
    return re.sub(r"^[\w.]+: ", "", "\n".join(lines[start:]))


def _passes(error: BaseException, *rooms: str) -> bool:
    """Return whether an error came through a module of these, on its way."""
    return any(frame.tb_frame.f_globals.get("__name__", "").startswith(rooms) for frame in _frames(error.__traceback__))


def _frames(frame: TracebackType | None) -> Iterator[TracebackType]:
    while frame is not None:
        yield frame
        frame = frame.tb_next
