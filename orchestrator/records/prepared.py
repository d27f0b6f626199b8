"""What is found out once before anything trains, and what follows from it for each run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DIMENSIONS, Experiment
from orchestrator.records.facts import Cost, DatasetInfo
from orchestrator.records.identity import LOGGED_STEPS
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.records.record import flatten
from orchestrator.records.scores import BlockScores, FrozenScores
from orchestrator.records.spec import Choice, Hyperparameters, RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is found out once before anything trains. The experiment's `auto` values are concrete here."""

    experiment: Experiment
    data: DatasetInfo
    weights_sha256: str | None
    costs: Mapping[FrozenSet, Cost]
    """What each frozen set costs."""
    work: Mapping[FrozenSet, float] = field(default_factory=dict)
    """Floating-point operations of a whole run, in 10^9, about, by frozen set; empty: not known."""
    gpus: int = 0
    """GPUs that runs use; 0 on a CPU."""
    gpu_uuids: tuple[str, ...] = ()
    """UUIDs of those GPUs, as CUDA writes them, where it knows them."""
    generation: int = 0
    """Times that the study was started afresh before."""
    older: Mapping[str, int] = field(default_factory=dict)
    """`trainer.log_every_n_steps` of trainings that version 0.1 named by it, by today's fingerprint: they answer."""
    cache: CachePlace | None = None
    """What its runs share."""
    weights_file: str | None = None
    """Where the weights lie, if they are those of a sweep (absolute path)."""
    scores: BlockScores | None = None
    """What the pretrained network says of the training images."""

    @property
    def identity(self) -> dict[str, object]:
        """What all trials of the study have in common and what identifies their results, as plain values."""
        base = self.experiment
        spec = self.build_spec(Choice(frozen=FrozenSet(), hyperparameters=Hyperparameters.of(base)), seed=0)
        varied = {"frozen", "seed", LOGGED_STEPS, *(f"{DIMENSIONS[name]}.{name}" for name in base.search.dimensions)}
        return {key: value for key, value in flatten(spec.identity).items() if key not in varied}

    def score(self, frozen: FrozenSet) -> FrozenScores | None:
        """Return what is known of a frozen set before it trains."""
        return None if self.scores is None else self.scores.of(frozen)

    def build_spec(self, choice: Choice, seed: int, fold: int | None = None) -> RunSpec:
        """Write down all that the run of `choice` with `seed`, and with folds `fold`, needs."""
        chosen = choice.hyperparameters.of_section
        base = self.experiment
        spec = RunSpec(
            data=base.data.model_copy(update={**chosen("data"), "value_range": self.data.value_range}),
            model=base.model.model_copy(update={**chosen("model"), "num_classes": len(self.data.class_names)}),
            trainer=base.trainer.model_copy(update=chosen("trainer")),
            frozen=choice.frozen,
            seed=seed,
            fold=fold,
            data_fingerprint=self.data.fingerprint,
            weights_sha256=self.weights_sha256,
            generation=self.generation,
        )
        steps = self.older.get(spec.fingerprint)
        return spec if steps is None else spec.as_of_0(log_every_n_steps=steps)

    def build_workplace(self, directory: str, spec: RunSpec, *, until: int | None, alone: bool) -> Workplace:
        """Write down where and with what the run of `spec` happens; see `Workplace`."""
        return Workplace(
            directory=directory,
            cache=self.cache,
            weights_file=self.weights_file,
            cost=self.costs.get(spec.frozen),
            checkpoint_share=self.experiment.execution.checkpoint_share,
            until_epoch=until,
            alone=alone,
        )
