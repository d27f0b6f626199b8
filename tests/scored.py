"""Scores whose sums are easy: the squared gradient norms of the blocks are 1, 4, 9, 16 and 0, together 30."""

from orchestrator.records.scores import BlockScore, BlockScores
from tests.factories import RESNET18

SCORES = BlockScores(
    key="k" * 32,
    blocks=tuple(
        BlockScore(block=block, logme=logme, grad_norm=norm)
        for block, logme, norm in zip(RESNET18, (-0.5, -0.4, -0.2, -0.3, 0.1), (1.0, 2.0, 3.0, 4.0, 0.0), strict=True)
    ),
)
