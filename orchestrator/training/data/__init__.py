"""Data sets: opened from wherever they lie, checked, split, and loaded."""
