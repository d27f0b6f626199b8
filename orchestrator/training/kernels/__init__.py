"""Faster ways to compute what torch computes: nothing but its callers knows them, and they know no network."""
