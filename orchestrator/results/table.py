"""A table: rows of plain values, and as a data frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.results.tables import Row

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a sweep.

    Attributes:
        types: The dtype of each column, in order.
        rows: Plain values by column; None where a value is missing.
    """

    types: Mapping[str, str]
    rows: list[Row]

    def frame(self) -> "DataFrame":
        """Return a data frame with the columns and dtypes of `types`, also where there is no row."""
        import pandas as pd  # a second

        return pd.DataFrame(self.rows, columns=list(self.types)).astype(dict(self.types))
