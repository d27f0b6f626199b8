"""What a quantity is: a number, or another value, that runs, trials and sweeps state. `names.py` lists them all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What quantities of one kind have in common.

    Attributes:
        unit: As people read it; empty for plain numbers.
        dtype: Type of a column of data frames. `Int64` and `boolean` may lack values, `int64` and `bool` may not.
        better: Which of two values is the better one; None: neither, or it depends.
        digits: Decimal places that tables for people show; None: six significant digits.
        grouped: Whether such tables separate thousands.
    """

    unit: str = ""
    dtype: str = "float64"
    better: Literal["higher", "lower"] | None = None
    digits: int | None = None
    grouped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity. Where it is shown follows from the groups of `names.py` that it is a member of.

    Attributes:
        key: Key in records, rows and MLflow, and column of tables and data frames.
        kind: Its kind.
        meaning: What it is, a sentence without its full stop.
        curve: For a quantity of an epoch: name of its curve in trackers; None: it has none.
    """

    key: str
    kind: Kind
    meaning: str
    curve: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Quantities that are shown in the same places.

    Attributes:
        of: What they are of: run, trial, epoch, step, block, comparison or sweep.
        shown: Where: trackers, and commands that print them.
        quantities: The quantities, in the order of their columns.
    """

    of: str
    shown: str
    quantities: tuple[Quantity, ...]


def column_types(quantities: Iterable[Quantity]) -> dict[str, str]:
    """Return the dtype of each quantity's column, by key."""
    return {each.key: each.kind.dtype for each in quantities}


TEXT: Final = Kind(dtype="string")
VERDICT: Final = Kind(dtype="boolean")
NUMBER: Final = Kind()
COUNT: Final = Kind(dtype="int64")
COUNT_IF_KNOWN: Final = Kind(dtype="Int64")
PARAMETERS: Final = Kind(unit="parameters", dtype="Int64", better="lower", grouped=True)
EPOCHS: Final = Kind(unit="epochs", dtype="Int64")
ACCURACY: Final = Kind(unit="fraction", better="higher", digits=4)
ACCURACY_DROP: Final = Kind(unit="fraction", better="lower", digits=4)
ACCURACY_CHANGE: Final = Kind(unit="fraction", digits=4)
STANDARD_ERROR: Final = Kind(unit="fraction", better="lower")
LOSS: Final = Kind(unit="nats", better="lower", digits=4)
EVIDENCE: Final = Kind(unit="nats an image", better="higher", digits=3)
GRADIENT: Final = Kind(unit="fraction", better="lower", digits=3)
IMPORTANCE: Final = Kind(unit="fraction", digits=2)
PERCENT: Final = Kind(unit="%", better="lower", digits=2)
PROBABILITY: Final = Kind(unit="probability", better="higher", digits=3)
P_VALUE: Final = Kind(unit="probability", better="lower", digits=3)
SECONDS: Final = Kind(unit="s", better="lower", digits=1)
SECONDS_PER_EPOCH: Final = Kind(unit="s", better="lower", digits=2)
IMAGES_PER_SECOND: Final = Kind(unit="images/s", better="higher", digits=1)
MEBIBYTES: Final = Kind(unit="MiB", better="lower", digits=1)
WATT_HOURS: Final = Kind(unit="Wh", better="lower", digits=3)
GFLOPS: Final = Kind(unit="GFLOPs", better="lower", digits=3)
HYPERVOLUME: Final = Kind(unit="decades", better="higher")
