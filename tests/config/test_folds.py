"""Which runs `data.folds` makes, and what does not go with it."""

import pytest

from orchestrator.config.models import DataConfig, Replicate, SearchConfig
from orchestrator.config.resolve import resolve_experiment
from orchestrator.errors import ConfigError
from orchestrator.records.trials import RunRecord, mean_over_images, superseded
from tests.factories import make_experiment, make_result, make_run, make_spec, make_trial

ENTRY = "experiments:\n  a:\n    data: {{source: synthetic, folds: 4{data}}}\n    search: {{mode: prefix{search}}}\n"


def test_a_trial_has_a_run_for_each_seed_and_fold():
    data = DataConfig(source="synthetic", folds=2)
    experiment = make_experiment(data=data, search=SearchConfig(seeds=(3, 1)))
    assert experiment.replicates == ((3, 0), (3, 1), (1, 0), (1, 1))
    assert make_experiment(search=SearchConfig(seeds=(3, 1))).replicates == ((3, None), (1, None))
    assert [str(each) for each in experiment.replicates[:1]] == ["seed 3, fold 0"]
    assert str(Replicate(seed=3)) == "seed 3"


@pytest.mark.parametrize(
    ("data", "search", "says"),
    [
        ("", ", strategy: race", "search.strategy.*race compares runs on the same validation images.*: use full"),
        (
            ", max_train_images: 9",
            "",
            "data.max_train_images.*limits the training split, and data.folds divides it anew",
        ),
    ],
)
def test_what_does_not_go_with_folds_is_refused_where_it_stands(write, data, search, says):
    with pytest.raises(ConfigError, match=says):
        resolve_experiment("a", write(ENTRY.format(data=data, search=search)))


def test_without_folds_a_specification_is_identified_as_before():
    spec = make_spec()
    assert "fold" not in spec.identity
    assert "folds" not in spec.identity["data"]
    folded = spec.model_copy(update={"data": spec.data.model_copy(update={"folds": 3})})
    prints = {folded.model_copy(update={"fold": fold}).fingerprint for fold in range(3)}
    assert len(prints | {spec.fingerprint}) == 4
    assert folded.model_copy(update={"fold": 2}).identity["data"]["folds"] == 3
    assert folded.model_copy(update={"fold": 2}).identity["fold"] == 2


def make_fold(fold: int, seed: int = 0, **result: object) -> RunRecord:
    return make_run(seed=seed).model_copy(update={"fold": fold, "result": make_result(**result)})


def test_the_mean_over_folds_is_that_over_their_images():
    runs = [make_fold(0, val_acc=1.0, n_val=30), make_fold(1, val_acc=0.5, n_val=10)]
    assert mean_over_images(runs, "val_acc") == pytest.approx((30 * 1.0 + 10 * 0.5) / 40)  # 0.875, not 0.75
    plain = [run.model_copy(update={"fold": None}) for run in runs]
    assert mean_over_images(plain, "val_acc") == pytest.approx(0.75)


def test_a_trial_with_the_folds_of_another_seed_besides_takes_the_place_of_the_first():
    first = make_trial(0).model_copy(update={"runs": (make_fold(0), make_fold(1))})
    more = (make_fold(0), make_fold(1), make_fold(0, seed=1), make_fold(1, seed=1))
    second = make_trial(1, frozen=first.frozen.key).model_copy(update={"runs": more})
    assert superseded([first, second]) == {0}
