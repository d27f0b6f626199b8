"""The study of one experiment: proposes trials and is told what they gave."""

import json
import random
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.study import StudyDirection
from optuna.trial import TrialState

from orchestrator import names
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError
from orchestrator.records.facts import Cost
from orchestrator.records.identity import LOGGED_STEPS
from orchestrator.records.scores import BlockScores
from orchestrator.records.spec import Choice, Proposal
from orchestrator.records.trials import RunRecord, TrialRecord, superseded
from orchestrator.search.plan import plan_choices
from orchestrator.search.samplers import build_sampler, experimental
from orchestrator.search.space import Space, describe
from orchestrator.search.store import (
    CHOICE,
    DISCARDED,
    EXPERIMENT,
    HYPERPARAMETERS,
    PUT_OFF,
    REPEATS,
    RUNS,
    SCORES,
    dump_experiment,
    dump_run,
    open_storage,
    read_trial,
    read_trials,
    translated,
)
from orchestrator.storage.layout import Root

_METRICS = [each.key for each in names.OBJECTIVES]
_DIRECTIONS = [
    StudyDirection.MAXIMIZE if each.kind.better == "higher" else StudyDirection.MINIMIZE for each in names.OBJECTIVES
]
_IDENTITY = "identity"
_WEIGHTS = "weights_sha256"
_WEIGHTS_FILE = "weights_file"
_CLOSED = "closed"
_MAX_ASKS = 20
"""Suggestions in a row that may equal a running trial before the sampler is taken to be stuck."""


class OptunaSearch:
    """The study of one experiment in `<root>/optuna.db`: maximises `val_acc`, minimises `trainable_params`.

    Args:
        root: Where the study lies; it is made where it is not there yet.
        experiment: What is searched.
        costs: Of every frozen set of the space.
        scores: What is known of the blocks before anything trains; the study keeps it once its identity is known.

    Raises:
        ConfigError: The budget leaves nothing, or a study of this name has other objectives.
        SetupError: The store cannot be opened.
    """

    def __init__(
        self, root: Root, experiment: Experiment, costs: Mapping[FrozenSet, Cost], scores: BlockScores | None = None
    ) -> None:
        self._experiment = experiment
        self._root = root
        self._scores = scores
        self._plan, self.left_out = plan_choices(experiment, costs, scores)
        self._kept = [f for f in experiment.frozen_sets if f not in self.left_out]
        self._space = Space(experiment)
        # a plan declares what it may be widened to
        declared = [f for f in experiment.widest_sets if self._plan is not None or f in self._kept]
        self._distributions = self._space.distributions(declared)
        self._proposed: list[Choice] = []
        self._lost = 0
        with translated(root):
            self._storage = open_storage(root)
            self._study = self._open()
            if self.planned() != []:
                self._require_same_space()

    def _open(self) -> optuna.Study:
        experiment = self._experiment
        study = optuna.create_study(
            study_name=experiment.name, storage=self._storage, directions=_DIRECTIONS, load_if_exists=True
        )
        trials = study.get_trials(deepcopy=False)
        stranger = trials and EXPERIMENT not in study.user_attrs
        if study.directions != _DIRECTIONS or stranger:
            found = ", ".join(direction.name.lower() for direction in study.directions)
            raise ConfigError(
                f"the study {experiment.name!r} in {self._root.optuna_db} was not made by this project"
                if stranger
                else f"the study {experiment.name!r} in {self._root.optuna_db} has the directions {found}, "
                "not maximize, minimize",
                hint="it is somebody else's: name the experiment otherwise or use another --root",
            )
        with experimental():
            study.set_metric_names(_METRICS)
        if EXPERIMENT not in study.user_attrs:
            study.set_user_attr(EXPERIMENT, dump_experiment(experiment))
        # the number of trials so far moves the seed on: else a resumed sampler repeats its first suggestions
        seed = (experiment.search.sampler_seed + len(trials)) % 2**32
        study.sampler = build_sampler(experiment.search.sampler, seed)
        return study

    def _require_same_space(self) -> None:
        """Refuse a space that Optuna would refuse in the middle: the choices of a study cannot change."""
        changed: dict[str, str] = {}
        for trial in self._study.get_trials(deepcopy=False):
            for name, before in trial.distributions.items():
                now = self._distributions.get(name, before)
                try:
                    check_distribution_compatibility(before, now)
                except ValueError:
                    changed[name] = f"  {name}: was {describe(before)}, is {describe(now)}"
        if changed:
            raise ConfigError(
                f"the choices of the study {self._experiment.name!r} in {self._root.optuna_db} cannot change:\n"
                + "\n".join(changed[name] for name in sorted(changed)),
                hint="put them back, or train from scratch with --fresh (the old study stays, under another name)",
            )

    def require_identity(self, identity: Mapping[str, object], weights_file: str | None = None) -> None:
        """Refuse to mix results of different configurations in one study.

        Args:
            identity: What all of its results have in common.
            weights_file: Where the weights lie, if they are those of another sweep.

        Raises:
            ConfigError: The study has trials of another identity; the message lists the differences.
        """
        before = self._study.user_attrs.get(_IDENTITY)
        if before is not None:  # up to version 0.1 it held how often runs log
            before = {key: value for key, value in before.items() if key != LOGGED_STEPS}
        now = json.loads(json.dumps(identity))
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        keys = sorted(key for key in {*(before or now), *now} if (before or now).get(key) != now.get(key))
        lines = [f"  {key}: was {(before or now).get(key)!r}, is {now.get(key)!r}" for key in keys]
        seeds = {run.seed for trial in complete for run in trial.runs}
        if not (self._is_race or seeds <= set(self._experiment.search.seeds)):
            lines.append(
                f"  search.seeds: was {sorted(seeds)}, is {sorted(self._experiment.search.seeds)}; "
                "seeds can be added, not taken away"
            )
        if complete and lines:
            former = self._name_former_weights(before or now) if _WEIGHTS in keys else None
            if former is not None:
                lines.append(f"  model.weights: was {former}, is {weights_file or self._experiment.model.weights}")
            back = f"put it back{f' (-s model.weights={shlex.quote(former)})' if former else ''}"
            raise ConfigError(
                f"the finished trials of {self._experiment.name!r} were made with another configuration:\n"
                + "\n".join(lines),
                hint=f"{back}, or train from scratch with --fresh (the old study stays, under another name)",
            )
        if weights_file is not None:
            file = self._root.relative(Path(weights_file))
            self._study.set_user_attr(_WEIGHTS_FILE, {"file": file, _WEIGHTS: now.get(_WEIGHTS)})
        self._study.set_user_attr(_IDENTITY, now)
        self._study.set_user_attr(EXPERIMENT, dump_experiment(self._experiment))
        self._study.set_user_attr(SCORES, self._scores and self._scores.model_dump(mode="json"))

    def _name_former_weights(self, before: Mapping[str, object]) -> str | None:
        """Name the file of another sweep that the finished trials started from; None where it was no sweep's."""
        kept = self._study.user_attrs.get(_WEIGHTS_FILE, {})
        return str(self._root.path / kept["file"]) if kept and kept[_WEIGHTS] == before.get(_WEIGHTS) else None

    @property
    def is_closed(self) -> bool:
        """Whether the sweep said at its end that all of these trials are tracked."""
        return bool(self._study.user_attrs.get(_CLOSED) == len(self._study.get_trials(deepcopy=False)))

    def close(self) -> None:
        """Note that all trials so far are tracked."""
        self._study.set_user_attr(_CLOSED, len(self._study.get_trials(deepcopy=False)))

    @property
    def has_plan(self) -> bool:
        """Whether all points are known before anything runs; else a sampler learns from each trial."""
        return self._plan is not None

    def planned(self) -> list[Choice] | None:
        """List what is left to run, in order; None where a sampler decides as it goes."""
        if self._plan is None:
            limit = self._experiment.search.n_trials or 0
            return [] if self._count_told() >= limit and not self._left_over() else None
        done = [_choice_of(trial) for trial in self.trials() if self._is_answered(trial)]
        return [choice for choice in self._plan if choice not in done]

    def arrange(self, choices: Sequence[Choice]) -> None:
        """Propose what is planned and left in another order."""
        self._plan = (*(choice for choice in self._plan or () if choice not in choices), *choices)

    @property
    def _is_race(self) -> bool:
        return self._experiment.search.strategy == "race"

    def _is_answered(self, trial: TrialRecord) -> bool:
        """Return whether a trial is complete with every seed that is asked for now; a race asks for those it needs."""
        if self._is_race:
            return trial.is_settled
        return trial.state == "complete" and set(self._experiment.search.seeds) <= {run.seed for run in trial.runs}

    def propose(self) -> Proposal | None:
        """Start the next trial; None when nothing is left."""
        return self._propose_planned() if self._plan is not None else self._propose_sampled()

    def start(self, choice: Choice) -> Proposal:
        """Start a trial of a point, whether an earlier trial has answered it or not."""
        return self._propose_again(choice)

    def tell(self, number: int, runs: Sequence[RunRecord]) -> TrialRecord:
        """Complete a trial with the mean `val_acc` over its runs and the parameters that they train."""
        results = [run.result for run in runs if run.result is not None]
        if not results or len(results) != len(runs):
            raise ValueError(
                f"trial {number} is told complete, and {len(runs) - len(results)} of its runs have no result"
            )
        self._keep_runs(number, runs)
        values = [fmean(result.val_acc for result in results), float(results[0].trainable_params)]
        self._study.tell(number, values)
        return self._record(number)

    def fail(self, number: int, error: str, runs: Sequence[RunRecord]) -> TrialRecord:
        """Mark a trial as failed, with the reason and the runs it has."""
        self._keep_runs(number, runs)
        self._set_attr(number, names.ERROR, error)
        self._study.tell(number, state=TrialState.FAIL)
        self._lost += 1
        return self._record(number)

    def put_off(self, number: int, runs: Sequence[RunRecord]) -> TrialRecord:
        """Leave a trial to the next start of the sweep, which goes on with it under the same number.

        Optuna has no state for that: there it stays RUNNING, which `read_trial` reads with the mark that is set here.
        """
        self._keep_runs(number, runs)
        self._set_attr(number, PUT_OFF, value=True)
        self._lost += 1
        return self._record(number)

    def prune(self, number: int, reason: str, runs: Sequence[RunRecord]) -> TrialRecord:
        """Mark a trial as dropped, with the reason and the runs it has; it has not failed, and is not run again."""
        self._keep_runs(number, runs)
        self._set_attr(number, names.ERROR, reason)
        self._study.tell(number, state=TrialState.PRUNED)
        return self._record(number)

    def reconcile(self) -> list[TrialRecord]:
        """Put off the trials that a dead owner left running, and give up those that the plan no longer asks for."""
        left = []
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            record = read_trial(trial)
            if record is None:  # its owner died before it said what it is
                self._study.tell(trial.number, state=TrialState.FAIL)
            elif self._plan is not None and _choice_of(record) not in self._plan:
                self._set_attr(trial.number, DISCARDED, value=True)
                self._study.tell(trial.number, state=TrialState.FAIL)
            elif not record.put_off:
                left.append(self.put_off(trial.number, record.runs))
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.WAITING]):  # nobody would ask for them
            trial_id = self._find_id(trial.number)
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)  # Optuna copies none that never began
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        self._lost = 0  # they count against that owner's call
        return left

    def trials(self) -> list[TrialRecord]:
        """List all trials by number, but for those that merely wait in the queue."""
        return read_trials(self._study)

    def settled(self) -> list[TrialRecord]:
        """List the trials of which nothing is left to run."""
        return [trial for trial in self.trials() if trial.is_settled]

    def _propose_planned(self) -> Proposal | None:
        left = [choice for choice in self.planned() or [] if choice not in self._proposed]
        if not left:
            return None
        return self._propose_again(left[0])

    def _propose_again(self, choice: Choice) -> Proposal:
        """Start a trial of a point that is known, or go on with the one that was put off."""
        self._proposed.append(choice)
        for record in self.trials():
            waits = self._study.get_trials(deepcopy=False)[record.number].state == TrialState.RUNNING
            if waits and record.put_off and _choice_of(record) == choice:
                self._set_attr(record.number, PUT_OFF, value=False)
                return Proposal(number=record.number, choice=choice)
        self._study.enqueue_trial(self._space.encode(choice), skip_if_exists=False)
        while True:
            trial = self._study.ask(self._distributions)
            found = self._space.decode(trial.params)
            if found == choice:
                return self._start(trial, choice)
            self._discard(trial, found, "left in the queue by a process that died")

    def _propose_sampled(self) -> Proposal | None:
        # what failed in this call is not tried again in it: a sweep whose trials all fail must end
        left_over = self._left_over()
        if left_over:
            return self._propose_again(left_over[0])
        if self._count_told(with_running=True) + self._lost >= (self._experiment.search.n_trials or 0):
            return None
        for asked in range(_MAX_ASKS):
            if asked == _MAX_ASKS - 1 and len(self._kept) < len(self._experiment.frozen_sets):
                self._suggest_kept()
            trial = self._study.ask(self._distributions)
            choice = self._space.decode(trial.params)
            if choice.frozen not in self._kept:  # an encoding by block can say what the budget leaves out
                self._discard(trial, choice, f"left out: over search.max_trainable_params={self._limit}")
                continue
            earlier = [
                record for record in self.trials() if record.number != trial.number and _choice_of(record) == choice
            ]
            done = [record for record in earlier if record.state == "complete" and record.repeats is None]
            if done:
                return self._repeat(trial, choice, done[0])
            if any(record.state == "running" for record in earlier):
                self._discard(trial, choice, "the sampler suggested a trial that is running")
                continue
            return self._start(trial, choice)
        return None

    def _left_over(self) -> list[Choice]:
        """List the points that were begun by an earlier sweep, or with fewer seeds, and are not answered."""
        trials = self.trials()
        begun = [t for t in trials if t.put_off or (t.state == "complete" and t.repeats is None)]
        settled = [_choice_of(t) for t in trials if t.state == "running" or self._is_answered(t)]
        return [c for c in dict.fromkeys(map(_choice_of, begun)) if c not in settled and c not in self._proposed]

    def _suggest_kept(self) -> None:
        """Put a frozen set within the budget in the queue: the sampler does not find one by itself."""
        draw = random.Random(len(self._study.get_trials(deepcopy=False)))  # noqa: S311 - no secret
        self._study.enqueue_trial(self._space.encode_frozen(draw.choice(self._kept)))

    @property
    def _limit(self) -> int | None:
        return self._experiment.search.max_trainable_params

    def _start(self, trial: optuna.Trial, choice: Choice) -> Proposal:
        self._describe(trial, choice)
        return Proposal(number=trial.number, choice=choice)

    def _repeat(self, trial: optuna.Trial, choice: Choice, done: TrialRecord) -> Proposal:
        self._describe(trial, choice)
        trial.set_user_attr(REPEATS, done.number)
        trial.set_user_attr(RUNS, [dump_run(run) for run in done.runs])
        self._study.tell(trial.number, [done.val_acc or 0.0, float(done.trainable_params or 0)])
        return Proposal(number=trial.number, choice=choice, repeats=done.number)

    def _discard(self, trial: optuna.Trial, choice: Choice, reason: str) -> None:
        self._describe(trial, choice)
        trial.set_user_attr(names.ERROR, reason)
        self._study.tell(trial.number, state=TrialState.PRUNED)

    @staticmethod
    def _describe(trial: optuna.Trial, choice: Choice) -> None:
        plain = {names.FROZEN: choice.frozen.key, HYPERPARAMETERS: choice.hyperparameters.model_dump(mode="json")}
        trial.set_user_attr(CHOICE, plain)

    def _count_told(self, *, with_running: bool = False) -> int:
        """Count the trials that stand for a point of the space: failed ones are tried again."""
        states = {"complete", "running"} if with_running else {"complete"}
        trials = self.trials()
        old = superseded(trials)
        return sum(trial.state in states and trial.number not in old for trial in trials)

    def _keep_runs(self, number: int, runs: Iterable[RunRecord]) -> None:
        self._set_attr(number, RUNS, [dump_run(run) for run in runs])

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        # a study writes only to trials that it asked for itself, and not to those of another process
        self._storage.set_trial_user_attr(self._find_id(number), key, value)

    def _find_id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _record(self, number: int) -> TrialRecord:
        record = read_trial(self._study.get_trials(deepcopy=False)[number], self._scores)
        if record is None:
            raise ValueError(f"trial {number} was not proposed by this search")
        return record


def _choice_of(trial: TrialRecord) -> Choice:
    return Choice(frozen=trial.frozen, hyperparameters=trial.hyperparameters)
