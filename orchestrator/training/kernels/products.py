"""Products of matrices of which each row is computed the same way however many rows there are."""

from torch import Tensor, nn

_FEWEST_ROWS = 32
"""Rows from which libraries compute a row alike. With fewer, and up to 512 terms a sum, MKL adds up in another order on
processors with AVX-512: below 16 rows, as measured for each number of rows up to 832 with torch 2.15."""


def multiply_rows(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply matrices so that no row of the product depends, to the last bit, on the number of rows.

    Activations that are computed once for all images count on it: a batch may have fewer.

    Args:
        rows: ([batch,] n, k).
        matrix: ([batch,] k, m).

    Returns:
        ([batch,] n, m).
    """
    count = rows.shape[-2]
    if count >= _FEWEST_ROWS:
        return rows @ matrix
    filled = nn.functional.pad(rows, (0, 0, 0, _FEWEST_ROWS - count))
    return (filled @ matrix)[..., :count, :]
