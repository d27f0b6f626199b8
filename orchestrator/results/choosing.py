"""Which trial is the best, by which rule, and how it stands to those that other rules name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.objectives import Rule
from orchestrator.records.trials import TrialRecord
from orchestrator.results.belief import Belief
from orchestrator.results.judgement import Judgement
from orchestrator.results.snapshot import Snapshot
from orchestrator.stats import pareto

MIN_VAL_ACC = "min_val_acc"
KNEE = "knee"
_BASES = {
    "expected": "the {best} {gain} to expect, all trials considered",
    "supported": "the {best} {gain} on the supported front",
    "measured": "the {best} measured {gain}, whatever chance made of it",
    KNEE: "where the front bends, {cost} on a logarithmic axis",
}
"""What each rule goes by, in words."""
_MISSING = "the {best} measured {gain}: without predictions of the same images"
_WITHOUT_PREDICTIONS = {
    "expected": f"{_MISSING} nothing else can be expected",
    "supported": f"{_MISSING} no front is supported",
}
"""The same where predictions are missing, and the measured gain decides."""
FORMER_RULES = {"point": "measured"}
"""What a rule is called now, by the name that it had up to version 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A trial and the rule that chose it.

    Attributes:
        trial: The trial.
        rule: `expected`, `supported`, `measured`, `min_val_acc`, `knee` or `recommended`: the rule that chose, which is
            `measured` where one of the first two was asked for and predictions are missing.
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
    rule: Rule,
) -> Chosen:
    """Choose the most accurate trial; for the arguments, the rules and what is raised see `Sweep.best`."""
    trials, name = snapshot.require_candidates(), snapshot.experiment.name
    _require_rule(rule)
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
    found = _choose_by_rule(snapshot, belief, fitting, rule)
    return replace(found, basis=f"{found.basis}, among the trials{within}") if within else found


def _choose_by_rule(snapshot: Snapshot, belief: Belief, fitting: Sequence[TrialRecord], rule: Rule) -> Chosen:
    """Choose by what all candidates say together, or those that fit alone where others have no predictions."""
    judgement = None
    if rule == "expected":
        judgement = belief.judgement or belief.judge(fitting)
    elif rule == "supported":
        judgement = belief.judge(fitting)
    if judgement is None:
        basis = _WITHOUT_PREDICTIONS.get(rule, _BASES["measured"])
        return Chosen(trial=_find_best(snapshot, fitting), rule="measured", basis=_fill(basis, snapshot))
    trial = judgement.find_expected(fitting) if rule == "expected" else _find_best(snapshot, judgement.supported)
    return Chosen(trial=trial, rule=rule, basis=_fill(_BASES[rule], snapshot))


def _fill(basis: str, snapshot: Snapshot) -> str:
    objective = snapshot.objective
    config, cost = objective.config, objective.of_cost.head
    return basis.format(best=objective.of_gain.best, gain=config.gain, cost=cost)


def _require_rule(rule: str) -> None:
    if rule in FORMER_RULES:
        raise ConfigError(f"rule {rule!r} is now called {FORMER_RULES[rule]!r}")
    if rule not in get_args(Rule):
        raise ConfigError(f"rule is one of {', '.join(get_args(Rule))}, not {rule!r}")


def choose_knee(snapshot: Snapshot) -> Chosen:
    """Choose the trial where the front bends; see `Sweep.knee`."""
    snapshot.require_candidates()
    found = pareto.knee(snapshot.front, gain=snapshot.objective.gain, cost=snapshot.objective.cost)
    if found is None:
        raise NotFoundError(f"the sweep {snapshot.experiment.name!r} has no front yet")
    return Chosen(trial=found, rule=KNEE, basis=_fill(_BASES[KNEE], snapshot))


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
    return _find_best(snapshot, snapshot.candidates)


def _find_best(snapshot: Snapshot, trials: Sequence[TrialRecord]) -> TrialRecord:
    objective = snapshot.objective
    return min(trials, key=lambda trial: (-objective.gain(trial), objective.cost(trial)))


def find_most_accurate(snapshot: Snapshot) -> TrialRecord | None:
    """Find the highest measured `val_acc`; ties: fewer parameters, then the earlier. None before one is complete."""
    return min(snapshot.complete, key=lambda trial: (-_accuracy(trial), _params(trial)), default=None)


def _accuracy(trial: TrialRecord) -> float:
    return trial.val_acc or 0.0


def _params(trial: TrialRecord) -> int:
    return trial.trainable_params or 0


def explain_choice(snapshot: Snapshot, belief: Belief, chosen: Chosen) -> str:
    """Explain by which rule a trial is chosen, and why those differ that other rules name."""
    judgement, name, objective = belief.judgement, snapshot.name, snapshot.objective
    said = f"{name(chosen.trial)} is chosen by the rule `{chosen.rule}`: {chosen.basis}"
    highest, measured = find_highest(snapshot), f"{objective.of_gain.best} measured"
    if highest.number == chosen.trial.number:
        said += f"; it is the {measured} trial too"
    else:
        said += f"; {measured}: {snapshot.describe(highest)}"
        if judgement is not None:
            said += f", {_explain_highest(highest, chosen, judgement, snapshot)}"
    if judgement is None:
        return f"{said}; nothing is recommended: not every complete trial has predictions of the same images"
    asked = snapshot.experiment.search.recommend
    recommended, advice = judgement.advise(asked.margin, asked.confidence)
    if recommended.number == chosen.trial.number:
        return f"{said}; it is the recommended trial too"
    limit = f"at most {objective.write_loss(asked.margin)} with probability {asked.confidence:g}"
    least = f"the {objective.of_cost.least} among those that lose {limit}"
    why = least if advice.is_confident else f"the best, since none loses {limit}"
    return f"{said}; recommended: {name(recommended)}: {why}"


def _explain_highest(highest: TrialRecord, chosen: Chosen, judgement: Judgement, snapshot: Snapshot) -> str:
    """Describe how far the best measured trial is from the one that was chosen, and why the rule passes it over."""
    objective, gain = snapshot.objective, snapshot.objective.of_gain
    found = judgement.compare(highest, chosen.trial)
    amount = objective.amount
    gap = (
        f"{amount(found.difference)} {objective.unit} better ({amount(found.low)} to {amount(found.high)}, "
        f"p = {found.p_value:.2g} alone)"
    )
    if chosen.rule == "expected":
        expected, other = (gain.write(judgement.corrected(trial) or 0.0, 1) for trial in (highest, chosen.trial))
        return f"{gap}; to expect are {expected} of it, and {other} of the chosen one"
    deputies = " and ".join(snapshot.name(trial) for trial in judgement.find_deputies(highest))
    if not deputies or chosen.rule != "supported":
        return gap
    return (
        f"{gap}, but not on the supported front: it is not shown to be better than {deputies}, which cost as much or "
        "less, once all trials are looked at"
    )
