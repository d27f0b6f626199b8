"""A sweep as pictures, as an interactive page and as a note."""
