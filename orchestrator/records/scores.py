"""What is known of a network's blocks before anything trains: how well they transfer, and how much they would move."""

import math

from orchestrator.blocks import FrozenSet
from orchestrator.records.record import Record


class FrozenScores(Record):
    """What is known of a frozen set before anything trains."""

    logme: float | None = None
    """LogME of what its last block before the first that trains gives; None: the first block trains. Higher is better.
    """
    grad_share_frozen: float | None = None
    """Share of the squared relative gradient norms of all blocks that lies in its own: what freezing gives up. Lower is
    better."""


class BlockScore(Record):
    """What a block of the pretrained network says of the training images."""

    block: str
    """Its name."""
    logme: float
    """LogME of what it gives for an image, pooled over its places: higher where a linear head on it has more evidence;
    any sign."""
    grad_norm: float
    """Relative gradient norm, 0 or more: of its gradient over that of its weights, with a new head."""


class BlockScores(Record):
    """The scores of all blocks. They order trials and drop none."""

    key: str
    """Hash of all that decides them."""
    blocks: tuple[BlockScore, ...]
    """In network order."""

    def of(self, frozen: FrozenSet) -> FrozenScores:
        """Return what follows for a frozen set."""
        order = tuple(each.block for each in self.blocks)
        depth = frozen.prefix_length(order)
        squares = {each.block: each.grad_norm**2 for each in self.blocks}
        total = math.fsum(squares.values())
        held = math.fsum(squares[block] for block in frozen.blocks)
        return FrozenScores(
            logme=self.blocks[depth - 1].logme if depth else None,
            grad_share_frozen=held / total if total > 0 else None,
        )
