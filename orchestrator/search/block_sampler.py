"""An Optuna sampler that proposes frozen sets by what all trials so far say of the blocks."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator import names
from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.errors import ConfigError
from orchestrator.search.candidates import History, draw_sets, learn_costs, scale_costs, scale_values, spread_out
from orchestrator.stats.acquisition import hypervolume_gains, improvements
from orchestrator.stats.block_model import BlockModel
from orchestrator.stats.evidence import Floats
from orchestrator.stats.pareto import pareto_front

_DRAWS = 128
_MOST_CANDIDATES = 4096
_MOST_LISTED_BLOCKS = 12
"""Of more blocks the sets are drawn, not listed: 2^12 are as many as the candidates."""
_WITHOUT_DATA = 2
"""Fewer values than these say nothing of any block."""


@final
class BlockSampler(optuna.samplers.BaseSampler):
    """Samples frozen sets for a study that maximises a gain, and that may minimise a cost besides.

    It learns from all trials what each block is worth (`BlockModel`, by which the results of a sweep are judged too),
    and proposes the set that adds most to the front in the mean over what may be true of all sets. A set that has a
    trial, running or waiting ones included, is not proposed again while another is left; one that failed may be, once.
    The first proposals are spread over the depths. `study.optimize` ends when no set is left.

    Parameters other than the frozen set are sampled by `independent_sampler`, and the model does not know them: where
    there are some, sets are proposed again once all have a trial. Processes that share a storage and ask at the same
    moment may propose the same set; threads do not.

    Args:
        blocks: Names of the blocks, in network order.
        sets: Frozen sets to choose among, or their keys; None: all sets of the blocks.
        encoding: `categorical`: the parameter `frozen`, whose choices are keys; `per_block`: a boolean `freeze_BLOCK`
            for each block.
        costs: Cost of each frozen set, a mapping or a function, in the unit of the second objective. None: it is
            learned as a sum over blocks, which holds for parameters.
        noise: Standard deviation of a value by chance, in the unit of the first objective, such as
            `sqrt(p * (1 - p) / n)` of an accuracy on n images; 0 where training is deterministic. None: not known.
        independent_sampler: Samples what is not the frozen set; None: Optuna's `TPESampler`.
        seed: Of the draws; the same study of one worker gets the same proposals for it.

    Raises:
        ConfigError: There is no block or no set, or more than 12 blocks are to be one categorical parameter.

    Example:
        >>> import optuna
        >>> from orchestrator import BlockSampler
        >>> worth = {"stem": 0.01, "layer1": -0.02, "layer2": 0.03}
        >>> sampler = BlockSampler(list(worth), noise=0.0, seed=0)
        >>> def objective(trial):
        ...     trial.suggest_categorical("frozen", sampler.distributions["frozen"].choices)
        ...     frozen = sampler.read(trial.params)
        ...     return 0.9 - sum(worth[block] for block in frozen.blocks)
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="maximize", sampler=sampler)
        >>> study.optimize(objective, n_trials=6)
        >>> study.best_params
        {'frozen': 'layer1'}
    """

    def __init__(
        self,
        blocks: Sequence[str],
        *,
        sets: Iterable[FrozenSet | str] | None = None,
        encoding: Literal["categorical", "per_block"] = "categorical",
        costs: Mapping[FrozenSet, float] | Mapping[str, float] | Callable[[FrozenSet], float] | None = None,
        noise: float | None = None,
        independent_sampler: optuna.samplers.BaseSampler | None = None,
        seed: int | None = None,
    ) -> None:
        self._blocks = tuple(blocks)
        self._sets = self._list_sets(sets, encoding)
        self._encoding = encoding
        self._costs = costs
        self._noise = noise
        self._independent = independent_sampler or optuna.samplers.TPESampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        listed = None if self._sets is None else set(self._sets)
        self._starts = [each for each in spread_out(self._blocks) if listed is None or each in listed]
        self._distributions = self._build_distributions()
        self._proposed: dict[tuple[str, int], FrozenSet] = {}
        self._lock = threading.Lock()

    def _list_sets(self, sets: Iterable[FrozenSet | str] | None, encoding: str) -> tuple[FrozenSet, ...] | None:
        if encoding not in {"categorical", "per_block"}:
            raise ConfigError(f"encoding is categorical or per_block, not {encoding!r}")
        if not self._blocks:
            raise ConfigError("a BlockSampler needs the names of the blocks, and there are none")
        if sets is not None:
            found = tuple(dict.fromkeys(FrozenSet.parse(str(each), order=self._blocks) for each in sets))
            if not found:
                raise ConfigError("a BlockSampler needs a frozen set to choose, and there is none")
            return found
        if len(self._blocks) <= _MOST_LISTED_BLOCKS:
            return tuple(all_sets(self._blocks))
        if encoding == "categorical":
            raise ConfigError(
                f"all sets of {len(self._blocks)} blocks are too many choices of one parameter",
                hint='use encoding="per_block", or name the sets',
            )
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        vars(self).update(state, _lock=threading.Lock())

    @property
    def distributions(self) -> dict[str, CategoricalDistribution]:
        """The parameters that it samples, as `Study.ask` takes them."""
        return dict(self._distributions)

    def _build_distributions(self) -> dict[str, CategoricalDistribution]:
        if self._encoding == "categorical":
            return {names.FROZEN: CategoricalDistribution([each.key for each in self._sets or ()])}
        return {f"{names.FREEZE_PREFIX}{block}": CategoricalDistribution([False, True]) for block in self._blocks}

    def read(self, params: Mapping[str, Any]) -> FrozenSet:
        """Read the frozen set from the parameters of a trial.

        Raises:
            KeyError: A parameter is missing.
        """
        if self._encoding == "categorical":
            return FrozenSet.parse(params[names.FROZEN], order=self._blocks)
        frozen = [block for block in self._blocks if params[f"{names.FREEZE_PREFIX}{block}"]]
        return FrozenSet.of(frozen, order=self._blocks)

    def reseed_rng(self) -> None:
        """Seed the draws anew, as Optuna asks for where several jobs run."""
        self._rng = np.random.default_rng()
        self._independent.reseed_rng()

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002 - as Optuna calls it
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the frozen set, whatever trials there are."""
        return dict(self.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose a frozen set.

        Raises:
            ConfigError: The study has more objectives than a gain and a cost, or maximises the cost.
        """
        _require_objectives(study)
        if search_space.keys() <= _params_of(trial).keys():  # it was enqueued
            return {}
        with self._lock:
            frozen = self._propose(study, trial)
            self._proposed[study.study_name, trial.number] = frozen
        if self._encoding == "categorical":
            return {names.FROZEN: frozen.key}
        return {f"{names.FREEZE_PREFIX}{block}": block in frozen for block in self._blocks}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample a parameter that is not of the frozen set."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """End `Study.optimize` where no frozen set is left, unless trials vary in other parameters too."""
        self._independent.after_trial(study, trial, state, values)
        alone = trial.params.keys() <= self._distributions.keys()
        if alone and state == TrialState.COMPLETE and self._sets is not None:
            taken = self._gather(study, trial).taken
            if all(each in taken or each == self._find(trial) for each in self._sets):
                with suppress(RuntimeError):  # that it is not called within `optimize`
                    study.stop()

    def _find(self, trial: FrozenTrial) -> FrozenSet | None:
        """Return the frozen set of a trial; None where it has none yet."""
        try:
            return self.read(_params_of(trial))
        except (KeyError, ConfigError):
            return None

    def _gather(self, study: optuna.Study, current: FrozenTrial) -> History:
        def pairs() -> Iterator[tuple[FrozenTrial, FrozenSet]]:
            for trial in study.get_trials(deepcopy=False):
                frozen = self._find(trial)
                if frozen is None and trial.state == TrialState.RUNNING:
                    frozen = self._proposed.get((study.study_name, trial.number))
                if frozen is not None and trial.number != current.number:
                    yield trial, frozen

        return History.of(pairs())

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> FrozenSet:
        history = self._gather(study, trial)
        taken = history.taken
        for each in self._starts:
            if each not in taken:
                return each
        left = self._list_left(history)
        if not left:
            return self._repeat(study, history)
        if len(history.values) < _WITHOUT_DATA:
            return left[int(self._rng.integers(len(left)))]
        measured = list(history.values)
        known = [*measured, *(each for each in history.pending if each not in history.values)]
        drawn = self._draw(study, history, [*known[len(measured) :], *left], _DRAWS)
        if len(study.directions) == 1:
            worth = improvements(drawn, len(known))
        else:
            costs, highest = scale_costs(self._cost([*known, *left], history))
            worth = hypervolume_gains(drawn, costs, len(known), highest)
        if not worth.any():  # nothing may be better than what is known
            worth = drawn[:, len(known) :].mean(axis=0)
        return left[int(np.argmax(worth))]

    def _list_left(self, history: History) -> list[FrozenSet]:
        """List the sets that may be proposed; of very many, some."""
        taken = history.taken
        every: Sequence[FrozenSet] | None = self._sets
        if every is None:
            every = draw_sets(self._blocks, history.values, _MOST_CANDIDATES // 2, self._rng)
        left = [each for each in every if each not in taken]
        if len(left) > _MOST_CANDIDATES:
            left = [left[place] for place in sorted(self._rng.permutation(len(left))[:_MOST_CANDIDATES])]
        return left

    def _repeat(self, study: optuna.Study, history: History) -> FrozenSet:
        """Propose a set that has a trial: one on the front of a draw, of those the one with the fewest trials."""
        measured = list(history.values)
        if not measured:
            tried = sorted(history.taken, key=lambda each: each.key)
            return tried[0]
        drawn = self._draw(study, history, [], 1)[0]
        costs = self._cost(measured, history) if len(study.directions) > 1 else np.zeros(len(measured)).tolist()
        front = pareto_front(range(len(measured)), gain=lambda place: float(drawn[place]), cost=costs.__getitem__)
        return measured[min(front, key=lambda place: (len(history.values[measured[place]]), -drawn[place]))]

    def _draw(self, study: optuna.Study, history: History, unseen: Sequence[FrozenSet], draws: int) -> Floats:
        """Draw true values of the measured sets, by their order in the history, and of others."""
        scaled, variance, luck = scale_values(list(history.values.values()), study.directions[0], self._noise)
        model = BlockModel(scaled, np.diag(variance), [each.parts for each in history.values], luck=luck)
        seed = int(self._rng.integers(2**32))
        return model.draw(draws, seed, unseen=[each.parts for each in unseen])

    def _cost(self, sets: Sequence[FrozenSet], history: History) -> list[float]:
        if self._costs is None:
            return learn_costs(history.costs, sets)
        if callable(self._costs):
            return [float(self._costs(each)) for each in sets]
        costs: Mapping[Any, float] = self._costs  # a set is found by its key, too
        return [float(costs[each]) for each in sets]


def _require_objectives(study: optuna.Study) -> None:
    directions = study.directions
    if len(directions) > 2 or (len(directions) == 2 and directions[1] != StudyDirection.MINIMIZE):
        found = ", ".join(each.name.lower() for each in directions)
        raise ConfigError(
            f"a BlockSampler takes a gain, and a cost to minimise if any; the study has the directions {found}",
            hint='directions=["maximize", "minimize"], the cost last',
        )


def _params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters of a trial, and those that it was enqueued with."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
