"""Seeds that come from a run's seed, each for one purpose."""

import hashlib


def derive_seed(seed: int, purpose: str) -> int:
    """Derive a seed of 63 bits from a run's seed: equal for equal arguments, unrelated between purposes."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
