"""Which trial is the best, by which rule, and how it stands to those that other rules name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from orchestrator import names
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.records.trials import TrialRecord
from orchestrator.results.belief import Belief
from orchestrator.results.judgement import Judgement
from orchestrator.results.snapshot import Snapshot
from orchestrator.stats import pareto

MIN_VAL_ACC = "min_val_acc"
KNEE = "knee"
BASES = {
    "supported": "the highest val_acc on the supported front",
    "point": "the highest measured val_acc, whatever chance made of it",
    KNEE: "where the front bends, parameters on a logarithmic axis",
}
"""What each rule goes by, in words."""
_UNSUPPORTED = "the highest measured val_acc: without predictions of the same images no front is supported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A trial and the rule that chose it.

    Attributes:
        trial: The trial.
        rule: `supported`, `point`, `min_val_acc` or `knee`: the rule that chose, which is `point` where `supported`
            was asked for and predictions are missing.
        basis: The same in words.
    """

    trial: TrialRecord
    rule: str
    basis: str


def choose_best(
    snapshot: Snapshot,
    belief: Belief,
    *,
    max_trainable_params: int | None,
    min_val_acc: float | None,
    rule: names.Rule,
) -> Chosen:
    """Choose the most accurate trial; for the arguments, the rules and what is raised see `Sweep.best`."""
    trials, name, objective = snapshot.require_candidates(), snapshot.experiment.name, snapshot.objective
    if rule not in get_args(names.Rule):
        raise ConfigError(f"rule is one of {', '.join(get_args(names.Rule))}, not {rule!r}")
    fitting: Sequence[TrialRecord] = trials
    within = ""
    if max_trainable_params is not None:
        fitting = [trial for trial in trials if _params(trial) <= max_trainable_params]
        within = f" with at most {max_trainable_params:,} parameters"
        if not fitting:
            raise NotFoundError(
                f"no complete trial of {name!r} has at most {max_trainable_params:,} trainable "
                f"parameters; the closest is {snapshot.describe(min(trials, key=_params))}"
            )
    if min_val_acc is not None:
        return _choose_cheapest(snapshot, fitting, min_val_acc, within)
    used, kept, basis = rule, fitting, BASES[rule]
    if rule == "supported":
        judgement = belief.judge(fitting)
        if judgement is None:
            used, basis = "point", _UNSUPPORTED
        else:
            kept = judgement.supported
    return Chosen(
        trial=min(kept, key=lambda trial: (-objective.gain(trial), objective.cost(trial))),
        rule=used,
        basis=f"{basis}, among the trials{within}" if within else basis,
    )


def choose_knee(snapshot: Snapshot) -> Chosen:
    """Choose the trial where the front bends; see `Sweep.knee`."""
    snapshot.require_candidates()
    found = pareto.knee(snapshot.front, gain=snapshot.objective.gain, cost=snapshot.objective.cost)
    if found is None:
        raise NotFoundError(f"the sweep {snapshot.experiment.name!r} has no front yet")
    return Chosen(trial=found, rule=KNEE, basis=BASES[KNEE])


def _choose_cheapest(snapshot: Snapshot, fitting: Sequence[TrialRecord], least: float, within: str) -> Chosen:
    accurate = [trial for trial in fitting if _accuracy(trial) >= least]
    if not accurate:
        raise NotFoundError(
            f"no complete trial of {snapshot.experiment.name!r}{within} reaches val_acc {least:g}; "
            f"the closest is {snapshot.describe(max(fitting, key=_accuracy))}",
            hint="accuracies are fractions in [0, 1]" if least > 1 else None,
        )
    return Chosen(
        trial=min(accurate, key=lambda trial: (_params(trial), -_accuracy(trial))),
        rule=MIN_VAL_ACC,
        basis=f"the fewest trainable parameters with a measured val_acc of at least {least:g}{within and ','}{within}",
    )


def find_highest(snapshot: Snapshot) -> TrialRecord:
    """Find the candidate with the best measured gain; ties: the lower cost, then the earlier."""
    objective = snapshot.objective
    return min(snapshot.candidates, key=lambda trial: (-objective.gain(trial), objective.cost(trial)))


def find_most_accurate(snapshot: Snapshot) -> TrialRecord | None:
    """Find the highest measured `val_acc`; ties: fewer parameters, then the earlier. None before one is complete."""
    return min(snapshot.complete, key=lambda trial: (-_accuracy(trial), _params(trial)), default=None)


def _accuracy(trial: TrialRecord) -> float:
    return trial.val_acc or 0.0


def _params(trial: TrialRecord) -> int:
    return trial.trainable_params or 0


def explain_choice(snapshot: Snapshot, belief: Belief, chosen: Chosen) -> str:
    """Explain by which rule a trial is chosen, and why those differ that other rules name."""
    trials, judgement, name = snapshot.candidates, belief.judgement, snapshot.name
    said = f"{name(chosen.trial)} is chosen by the rule `{chosen.rule}`: {chosen.basis}"
    highest = find_highest(snapshot)
    if highest.number == chosen.trial.number:
        said += "; it is the highest measured trial too"
    else:
        said += f"; highest measured: {snapshot.describe(highest)}"
        if judgement is not None:
            said += f", {_explain_highest(highest, chosen, judgement, snapshot)}"
    if judgement is None:
        return f"{said}; nothing is recommended: not every complete trial has predictions of the same images"
    number = judgement.recommend().number
    if number == chosen.trial.number:
        return f"{said}; it is the recommended trial too"
    recommended = next(trial for trial in trials if trial.number == number)
    within = "" if number == highest.number else ": the fewest parameters within one standard error of the highest"
    return f"{said}; recommended: {name(recommended)}{within}"


def _explain_highest(highest: TrialRecord, chosen: Chosen, judgement: Judgement, snapshot: Snapshot) -> str:
    """Describe how far the highest measured trial is above the one that was chosen, and why the rule passes it over."""
    found = judgement.compare(highest, chosen.trial)
    low, high = 100 * found.low, 100 * found.high
    gap = f"{100 * found.difference:.1f} points above it ({low:.1f} to {high:.1f}, p = {found.p_value:.2g} alone)"
    deputies = " and ".join(snapshot.name(trial) for trial in judgement.find_deputies(highest))
    if not deputies or chosen.rule != "supported":
        return gap
    return (
        f"{gap}, but not on the supported front: it is not shown to be better than {deputies}, of as few or fewer "
        "parameters, once all trials are looked at"
    )
