"""The demo that ships shows what the product is for: a network that knows something, and what freezing it costs."""

from pathlib import Path

import pytest

from orchestrator.config import load_experiment
from orchestrator.config.models import Experiment
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.loading import describe_data
from orchestrator.training.network.backbones import describe_weights
from orchestrator.training.run.run import run_training
from tests.factories import make_cost

EXPERIMENTS = Path(__file__).parents[2] / "experiments.yaml"
ALL = "stem+layer1+layer2+layer3+layer4"


def train(experiment: Experiment, frozen: str, folder: Path, weights_file: str | None = None) -> RunResult:
    """Train one run of an experiment as a sweep does, with its first seed, on the CPU."""
    info = describe_data(experiment.data)
    spec = RunSpec(
        data=experiment.data.model_copy(update={"value_range": info.value_range}),
        model=experiment.model,
        trainer=experiment.trainer.model_copy(update={"precision": "32-true", "accelerator": "cpu"}),
        frozen=frozen,
        seed=experiment.search.seeds[0],
        data_fingerprint=info.fingerprint,
        weights_sha256=describe_weights(experiment.model, weights_file).sha256,
    )
    place = Workplace(directory=str(folder), weights_file=weights_file, cost=make_cost(frozen))
    return run_training(spec, place, lambda _: None)


@pytest.mark.slow
def test_freezing_everything_costs_much_and_the_first_blocks_little(tmp_path):
    source, demo = load_experiment("demo-source", EXPERIMENTS), load_experiment("demo", EXPERIMENTS)
    assert demo.model.source_sweep == source.name
    assert set(source.data.classes) & set(demo.data.classes) == set()
    assert train(source, "none", tmp_path / "source").val_acc > 0.85  # 0.95 with four epochs; chance is 1 of 7
    file = str(tmp_path / "source" / "best.ckpt")
    two = train(demo, "stem+layer1", tmp_path / "two", file)
    everything = train(demo, ALL, tmp_path / "everything", file)
    # 0.95 and 0.54 as means over three seeds; chance is 1 of 3
    assert two.val_acc > 0.85
    assert two.val_acc - everything.val_acc > 0.15
    assert (two.n_val, everything.trainable_params) == (132, 512 * 3 + 3)
