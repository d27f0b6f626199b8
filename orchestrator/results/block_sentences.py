"""What freezing each block changes, in a sentence and as a table."""

from collections.abc import Sequence

from orchestrator.results import BlockEffects
from orchestrator.stats.effects import BlockEffect, Estimate, find_supported_effects
from orchestrator.stats.timing import TimeEffect


def say_effects(effects: BlockEffects) -> str:
    """Return which blocks matter for accuracy, no more than the intervals support once all blocks are looked at."""
    known = [(each, each.accuracy) for each in effects.compared if each.accuracy and each.accuracy.low is not None]
    freezing = _say_freezing(effects)
    if not known:
        return _say_largest(effects, freezing)
    supported = find_supported_effects(effects.blocks)
    others = [(each, estimate) for each, estimate in known if each not in supported]
    doubtful = any(estimate.is_told_from_zero for _, estimate in others)
    if not supported:
        if doubtful:
            looked = f"{len(known)} {'blocks' if effects.of_freezing else 'comparisons'}"
            return f"No effect of {_what(effects)} a block on accuracy holds once all {looked} are looked at"
        least = min(estimate.low or 0.0 for _, estimate in others)
        lost = f"losses of up to {-100 * least:.1f} points are possible all the same"
        return f"These data show no effect of {_what(effects)} any one block on accuracy; {lost}"
    title = f"{freezing}{_join([_say_effect(effects, each) for each in supported])}"
    if not others:
        return title
    several = "the other blocks" if effects.of_freezing else "the other comparisons"
    rest = effects.label(others[0][0]) if len(others) == 1 else several
    shown = "no difference that holds once all blocks are looked at" if doubtful else "no difference"
    return f"{title}; for {rest} these data show {shown}"


def explain_effects(effects: BlockEffects) -> str:
    """State the same, and what the numbers are and are not, as sentences of a paragraph."""
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in (say_effects(effects), *effects.notes()))


def build_table(effects: BlockEffects) -> list[list[str]]:
    """Write a row a block under a row of names; cells are empty where a value is missing, and no column is empty."""
    columns = {
        "block": [*map(effects.label, effects.blocks)],
        "change of accuracy, points": [_say_change(effect.accuracy) for effect in effects.blocks],
        "GFLOPs a training image": [_say_number(effect.gflops_train, "+.3g") for effect in effects.blocks],
        "parameters": [_say_number(effect.trainable_params, "+,") for effect in effects.blocks],
        "seconds a run": [_say_seconds(effect.duration_s) for effect in effects.blocks],
        "interaction with the next, points": [_say_change(effect.interaction) for effect in effects.blocks],
        "PED-ANOVA": [_say_number(effects.find_importance(effect), ".2f") for effect in effects.blocks],
        "pairs": [str(effect.n_pairs) for effect in effects.blocks],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return [list(kept), *(list(row) for row in zip(*kept.values(), strict=True))]


def _what(effects: BlockEffects) -> str:
    return "freezing" if effects.of_freezing else "freezing or tuning"


def _say_freezing(effects: BlockEffects) -> str:
    """Begin a sentence that effects follow; those of tunings say themselves what the block does."""
    if not effects.of_freezing:
        return "With all blocks before frozen, " if effects.nested else ""
    return "Also freezing " if effects.nested else "Freezing "


def _say_largest(effects: BlockEffects, freezing: str) -> str:
    with_change = [(abs(each.accuracy.mean), each) for each in effects.compared if each.accuracy is not None]
    if not with_change:
        return "No two of these trials share a seed: what freezing a block changes in accuracy is not known"
    _, largest = max(with_change, key=lambda pair: pair[0])
    return f"{freezing}{_say_effect(effects, largest)}; how sure that is, is not known: predictions are missing"


def _say_effect(effects: BlockEffects, effect: BlockEffect) -> str:
    """Describe what a block costs or gains: `layer4 costs 3.1 points (1.0 to 5.2)`."""
    estimate = effect.accuracy
    if estimate is None:
        return effects.label(effect)
    verb, sign = ("costs", -100) if estimate.mean < 0 else ("gains", 100)
    text = f"{effects.label(effect)} {verb} {sign * estimate.mean:.1f} points"
    if estimate.low is None or estimate.high is None:
        return text
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return f"{text} ({low:.1f} to {high:.1f})"


def _say_change(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    text = f"{round(100 * estimate.mean, 1) + 0.0:+.1f}"  # what rounds to 0 has no minus
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"


def _say_seconds(effect: TimeEffect | None) -> str:
    return "" if effect is None else f"{effect.mean:+.1f} ({effect.low:+.1f} to {effect.high:+.1f})"


def _say_number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _join(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
