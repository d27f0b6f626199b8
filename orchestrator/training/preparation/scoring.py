"""Scores before anything trains: kept ones, or worked out again; a sweep goes on without them."""

from collections.abc import Callable

from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.records.scores import BlockScores
from orchestrator.storage.files import hash_parts

_VERSION = 1
"""Raised when the same images and weights would be scored otherwise than before."""


def find_scores(prepared: Prepared, kept: BlockScores | None, say: Callable[[str], None]) -> BlockScores | None:
    """Score the blocks of a sweep's pretrained network, unless that is done; None where there is no answer.

    Args:
        prepared: What is to be swept.
        kept: What an earlier call found.
        say: Hears why there is no answer, which ends no sweep.
    """
    experiment = prepared.experiment
    if not experiment.search.scores:
        return None
    if prepared.weights_sha256 is None:
        say("the blocks are not scored: random weights have learned nothing that could be of use")
        return None
    key = _name_scores(prepared)
    if kept is not None and kept.key == key:
        return kept
    say(Step("scoring the blocks"))
    from orchestrator.training.preparation.transferability import score_blocks

    try:
        blocks = score_blocks(experiment, len(prepared.data.class_names), prepared.cache, prepared.weights_file)
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainings need no scores
        say(f"the blocks are not scored, and the sweep goes on without: {str(error) or type(error).__name__}")
        return None
    return BlockScores(key=key, blocks=blocks)


def _name_scores(prepared: Prepared) -> str:
    """Hash all that decides the scores."""
    experiment = prepared.experiment
    parts = {
        "version": _VERSION,
        "images": [prepared.data.fingerprint, len(prepared.data.class_names)],
        "transform": [
            *(experiment.data.image_size, list(experiment.data.mean), list(experiment.data.std)),
            *(prepared.data.value_range or ()),
        ],
        "network": [experiment.model.backbone, prepared.weights_sha256],
        "seed": experiment.search.seeds[0],
    }
    return hash_parts(parts)[:32]
