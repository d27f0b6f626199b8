"""What the scores of the blocks say of a frozen set, worked out by hand; and when they are worked out at all."""

from types import SimpleNamespace

import pytest

from orchestrator.app import sweep as app
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, ExecutionConfig, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.records.scores import BlockScores, FrozenScores
from orchestrator.search import read_scores
from orchestrator.training.preparation.scoring import find_scores
from tests.doubles.words import Words
from tests.factories import RESNET18, WEIGHTS_SHA256, make_dataset, make_experiment
from tests.scored import SCORES


@pytest.mark.parametrize(
    ("key", "logme", "share"),
    [
        ("none", None, 0),
        ("stem", -0.5, 1 / 30),
        ("stem+layer1+layer2", -0.2, (1 + 4 + 9) / 30),
        ("stem+layer2+layer4", -0.5, (1 + 9 + 0) / 30),  # the prefix is the stem alone
        ("layer3", None, 16 / 30),
        ("+".join(RESNET18), 0.1, 1),
    ],
)
def test_a_frozen_set_has_the_logme_of_its_prefix_and_the_share_of_its_blocks(key, logme, share):
    assert (SCORES.of(FrozenSet.parse(key)).logme, SCORES.of(FrozenSet.parse(key)).grad_share_frozen) == (
        logme,
        pytest.approx(share),
    )


def test_without_any_gradient_there_is_no_share():
    still = [block.model_copy(update={"grad_norm": 0.0}) for block in SCORES.blocks]
    assert BlockScores(key="k", blocks=tuple(still)).of(FrozenSet.parse("stem")) == FrozenScores(logme=-0.5)


# Kept, or worked out


def make_prepared(*, weights_sha256=WEIGHTS_SHA256, image_size=32, **search) -> Prepared:
    experiment = make_experiment(
        search=SearchConfig(**search), data=DataConfig(source="synthetic", image_size=image_size)
    )
    return Prepared(experiment=experiment, data=make_dataset(), weights_sha256=weights_sha256, costs={})


@pytest.fixture
def scored(monkeypatch):
    """How often the blocks were scored; the score is made up."""
    calls = []

    def score(*args):
        calls.append(args)
        return SCORES.blocks

    monkeypatch.setattr("orchestrator.training.preparation.transferability.score_blocks", score)
    return calls


def test_scores_are_worked_out_once_for_equal_images_weights_and_seed(scored):
    said = []
    first = find_scores(make_prepared(), None, said.append)
    assert first is not None
    assert first.blocks == SCORES.blocks
    assert find_scores(make_prepared(mode="subset", seeds=(0, 1)), first, said.append) is first
    assert len(scored) == 1
    others = [
        find_scores(prepared, first, said.append)
        for prepared in (
            make_prepared(weights_sha256="b" * 64),
            make_prepared(image_size=64),
            make_prepared(seeds=(1,)),
        )
    ]
    assert len(scored) == 4
    assert len({each.key for each in (first, *others)}) == 4
    assert [text for text in said if not isinstance(text, Step)] == []


def test_random_weights_are_not_scored_and_that_is_said(scored):
    said = []
    assert find_scores(make_prepared(weights_sha256=None), SCORES, said.append) is None
    assert said == ["the blocks are not scored: random weights have learned nothing that could be of use"]
    assert scored == []


def test_nobody_who_wants_none_gets_any(scored):
    said = []
    assert find_scores(make_prepared(scores=False), SCORES, said.append) is None
    assert (said, scored) == ([], [])


# In a sweep


@pytest.fixture
def sweep(mlflow_root, monkeypatch):
    """Sweep with a fake training and no pictures, as if the weights were pretrained; gives the sweep and what it said.

    Each call may be told another experiment.
    """
    monkeypatch.setattr("orchestrator.app.parts.RUN_FUNCTION", "tests.fake_training:train")
    monkeypatch.setattr("orchestrator.report.plots.write_report", lambda *_: [])
    pretrained = SimpleNamespace(sha256=WEIGHTS_SHA256, notes=())
    monkeypatch.setattr("orchestrator.training.preparation.prepare.describe_weights", lambda *_: pretrained)

    def run(**search):
        words = Words()
        experiment = make_experiment(
            "scored",
            data=DataConfig(source="synthetic", image_size=32),
            model=ModelConfig(weights="none", num_classes=3),
            trainer=TrainerConfig(accelerator="cpu"),
            search=SearchConfig(**search),
            execution=ExecutionConfig(mode="inline"),
        )
        return app.run_sweep(experiment, root=mlflow_root.path, observer=words)[0], words.said

    return run


def test_a_sweep_keeps_its_scores_and_does_not_work_them_out_again(sweep, mlflow_root, scored):
    swept, _ = sweep(mode="list", frozen=("none", "stem"))
    assert {row["frozen"]: (row["logme"], row["grad_share_frozen"]) for row in swept.trial_rows()} == {
        "none": (None, 0),
        "stem": (-0.5, 1 / 30),
    }
    kept = read_scores(mlflow_root, "scored")
    assert kept is not None
    assert kept.blocks == SCORES.blocks
    wider, _ = sweep(mode="list", frozen=("none", "stem", "layer3"))
    assert [trial.scores for trial in wider.trials] == [
        kept.of(FrozenSet.parse(key)) for key in ("none", "stem", "layer3")
    ]
    assert len(scored) == 1


def test_a_sweep_goes_on_where_scoring_fails_and_says_why(sweep, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("orchestrator.training.preparation.transferability.score_blocks", fail)
    swept, said = sweep(mode="list", frozen=("stem",))
    assert [trial.state for trial in swept.trials] == ["complete"]
    assert "the blocks are not scored, and the sweep goes on without: MemoryError" in said
    assert swept.trial_rows()[0]["logme"] is None
