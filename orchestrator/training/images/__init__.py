"""Encoded images become pixels, which are kept for other runs, and batches."""
