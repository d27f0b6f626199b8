"""Which trial is recommended, how sure that is, and what more seeds would do for it: in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import names
from orchestrator.errors import ConfigError
from orchestrator.records.trials import TrialRecord, results_of
from orchestrator.results.belief import Belief
from orchestrator.results.choosing import Chosen
from orchestrator.results.judgement import Judgement
from orchestrator.results.objective import Objective
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.sweep_tables import SweepTables
from orchestrator.results.trial import Trial, build_trial
from orchestrator.stats.advice import Advice
from orchestrator.stats.further_seeds import MOST, Outlook

RECOMMENDED = "recommended"
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The lowest cost that loses little against the best, as far as the data say; where none does, the best.

    Losses are of the gain, against whichever trial is truly the best: fractions in [0, 1] of an accuracy, nats of
    `val_loss`.

    Attributes:
        trial: The trial.
        expected_number: Number of the trial with the best expected gain.
        margin: What may be lost.
        confidence: Probability asked for that no more is lost.
        probability: That the trial loses no more.
        is_confident: Whether that reaches the confidence; else the trial is the one with the best expected gain.
        loss: What the trial is expected to lose.
        loss_low: Lower end of its 95 % interval.
        loss_high: Upper end.
        open: Labels of the trials whose place in the decision is open, by rising cost; empty: it is settled.
        further_seeds: The fewest further seeds of each of these that would probably settle it; None: nothing is open,
            or no number up to eight would.
        sentence: The recommendation in words.
        outlook: What more seeds would do for it, in words.
        basis: What it rests on, in words: the images and whether other seeds are covered.

    Example:
        >>> from orchestrator import load_sweep
        >>> recommendation = load_sweep("demo").recommend(margin=1.0)  # whatever is lost
        >>> recommendation.frozen, recommendation.probability
        ('stem+layer1', 1.0)
        >>> recommendation.outlook
        'that is settled: no trial has fewer parameters'
        >>> recommendation.trial.load_model().training
        False
    """

    trial: Trial
    expected_number: int
    margin: float
    confidence: float
    probability: float
    is_confident: bool
    loss: float
    loss_low: float
    loss_high: float
    open: tuple[str, ...]
    further_seeds: int | None
    sentence: str
    outlook: str
    basis: str

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    @property
    def frozen(self) -> str:
        """Key of its frozen set."""
        return self.trial.frozen

    @property
    def label(self) -> str:
        """Its name: the frozen set, and the values of whatever else varies in the sweep."""
        return self.trial.label

    @property
    def text(self) -> str:
        """All of it in words."""
        return f"{self.sentence} ({self.basis}); {self.outlook}"


def recommend(
    snapshot: Snapshot, belief: Belief, tables: SweepTables, margin: float | None, confidence: float | None
) -> Recommendation:
    """Recommend a trial; for the arguments and what is raised see `Sweep.recommend`."""
    given = snapshot.experiment.search.recommend
    margin = _require_share("margin", given.margin if margin is None else margin, "points")
    confidence = _require_share("confidence", given.confidence if confidence is None else confidence, "percent")
    judgement = belief.require_judgement()
    found, advice = judgement.advise(margin, confidence)
    outlook = judgement.look_ahead(margin, confidence)
    sentence = _say(snapshot, found, advice, margin, confidence)
    chosen = Chosen(trial=found, rule=RECOMMENDED, basis=sentence)
    return Recommendation(
        trial=build_trial(chosen, snapshot, tables),
        expected_number=judgement.trial_at(advice.expected).number,
        margin=margin,
        confidence=confidence,
        probability=advice.probability,
        is_confident=advice.is_confident,
        loss=advice.loss,
        loss_low=advice.low,
        loss_high=advice.high,
        open=tuple(_label(snapshot, judgement, place) for place in outlook.open),
        further_seeds=outlook.seeds,
        sentence=sentence,
        outlook=_say_outlook(snapshot, judgement, found, outlook, margin, confidence),
        basis=_say_basis(judgement),
    )


def _require_share(name: str, value: float, unit: str) -> float:
    if 0 <= value <= 1:
        return value
    raise ConfigError(
        f"{name} is a fraction in [0, 1], not {value:g}",
        hint=f"for {value:g} {unit} say {value / 100:g}" if 1 < value <= 100 else None,
    )


def _say(snapshot: Snapshot, trial: TrialRecord, advice: Advice, margin: float, confidence: float) -> str:
    objective = snapshot.objective
    said = f"{snapshot.label(trial).freezing} {_say_cost(objective, trial)} and"
    limit = f"at most {objective.write_loss(margin)}"
    if advice.chosen == advice.expected:
        said += f" has the {objective.of_gain.best} expected {objective.of_gain.words};"
        said += " it" if advice.is_confident else f" no trial loses {limit} with probability {confidence:g}, and it"
    loss, low, high = (objective.amount(each) for each in (advice.loss, advice.low, advice.high))
    return (
        f"{said} is expected to lose {loss} {objective.unit} ({low} to {high}) against whichever trial is the best: "
        f"{limit} with probability {advice.probability:.2f}"
    )


def _say_cost(objective: Objective, trial: TrialRecord) -> str:
    results = results_of(trial)
    if results and objective.config.cost == names.TRAINABLE_PARAMS:
        return f"trains {results[0].trainable_pct:.3g} % of the parameters"
    return objective.of_cost.freezing.format(objective.cost(trial))


def _say_outlook(
    snapshot: Snapshot, judgement: Judgement, chosen: TrialRecord, outlook: Outlook, margin: float, confidence: float
) -> str:
    labels = [_label(snapshot, judgement, place) for place in outlook.open]
    objective = snapshot.objective
    if outlook.is_settled:
        if objective.cost(chosen) == min(map(objective.cost, snapshot.candidates)):
            return f"that is settled: no trial has {objective.of_cost.less}"
        return (
            f"that is settled: each trial with {objective.of_cost.less} loses more than {objective.write_loss(margin)} "
            f"with probability {confidence:g} or more"
        )
    if outlook.seeds is not None:
        seeds = "one more seed" if outlook.seeds == 1 else f"{_count(outlook.seeds)} more seeds"
        return f"{seeds} of {_say_these(labels)} would settle it with probability {outlook.share:.2f}"
    if outlook.rival is None:
        return f"more than {_count(MOST)} further seeds of {_say_these(labels)} would settle it"
    return (
        f"more seeds would settle it with a probability of {outlook.share:.2f} at most: {judgement.n_images} images do "
        f"not tell {snapshot.label(chosen)} from {_label(snapshot, judgement, outlook.rival)}"
    )


def _say_these(labels: Sequence[str]) -> str:
    return f"these {_count(len(labels))} trials ({', '.join(labels)})"


def _count(number: int) -> str:
    return _COUNTS[number] if number < len(_COUNTS) else str(number)


def _label(snapshot: Snapshot, judgement: Judgement, place: int) -> str:
    return str(snapshot.label(judgement.trial_at(place)))


def _say_basis(judgement: Judgement) -> str:
    images = f"{judgement.n_images} validation images"
    if judgement.one_seed:
        return f"{images} and one seed: what other seeds would change is assumed, not known"
    return f"{images} and the seeds of each trial"
