"""The note of a sweep, as Markdown: what it is, its front, what failed, and searches that work."""

import html
import re
from collections.abc import Sequence

from orchestrator import names
from orchestrator.records.trials import TrialRecord
from orchestrator.report.searches import CHEAT_SHEET
from orchestrator.results import Row, Sweep, Trial, describe_scores, describe_states
from orchestrator.results.block_sentences import build_table, explain_effects
from orchestrator.results.objective import Objective
from orchestrator.stats.gains import Gain

_MAX_ERROR = 200


def write_note(sweep: Sweep) -> str:
    """Write the note of a sweep, finished or not. Text that a user wrote is escaped."""
    parts = [
        *_describe(sweep),
        *_show_front(sweep),
        *_show_blocks(sweep),
        *_show_scores(sweep),
        *_list_pruned(sweep),
        *_list_failures(sweep),
        *_show_searches(),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Make any text show as it is in Markdown, on one line, in a table too."""
    line = " ".join(text.split())
    return html.escape(re.sub(r"([\\`*_{}\[\]()#!|~$+-])", r"\\\1", line), quote=False)


def code(text: str) -> str:
    """Write text as a code span, on one line, in a table too; backticks in it stay."""
    line = " ".join(text.split()).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _describe(sweep: Sweep) -> list[str]:
    experiment = sweep.experiment
    search = experiment.search
    seeds = ", ".join(map(str, search.seeds))
    folds = "" if experiment.data.folds is None else f", {experiment.data.folds} folds of the images"
    facts = [
        (
            f"Which blocks of {code(experiment.model.backbone)} to freeze: {len(experiment.frozen_sets)} frozen sets "
            f"(mode {code(search.mode)}), {'seed' if len(search.seeds) == 1 else 'seeds'} {seeds}{folds}"
        ),
        (
            f"Data: {code(experiment.data.source)}, {experiment.data.image_size} pixels; "
            f"weights: {code(experiment.model.weights)}"
        ),
        f"Trials: {describe_states(sweep.trials) or 'none has started'}",
    ]
    if search.strategy == "race":
        rungs = ", ".join(map(str, experiment.rungs[:-1])) or "no"
        facts.append(
            f"Raced: after {rungs} epochs trials were dropped that end on the front with a probability below "
            f"{search.race.drop_below:g}; those that are not certain have more seeds, up to {search.race.max_seeds}"
        )
    if any(str(tuning) != "full" for tuning in search.tunings):
        facts.insert(1, f"Blocks that are not frozen: {', '.join(code(str(tuning)) for tuning in search.tunings)}")
    if search.dimensions:
        facts.insert(1, f"Searched besides: {', '.join(map(code, search.dimensions))}")
    title = f"# Sweep {escape(experiment.name)}"
    described = [escape(experiment.description)] if experiment.description.strip() else []
    return [title, *described, "\n".join(f"- {fact}" for fact in facts)]


def _show_front(sweep: Sweep) -> list[str]:
    rows = sweep.front_rows()
    if not rows:
        return ["## Pareto front", "No trial is complete yet."]
    searched, objective = sweep.varied, sweep.objective
    head = [
        "trial",
        "frozen",
        *searched,
        objective.of_gain.head,
        "corrected",
        "probability of the front",
        objective.of_cost.head,
        "test accuracy",
        "seconds a run",
    ]
    table = _table(head, [_front_cells(row, searched, objective) for row in rows])
    best_measured = objective.best_measured
    answers = f"- {best_measured[0].upper()}{best_measured[1:]}: {_answer(sweep.best(rule='measured'), objective)}"
    judgement = sweep.judgement
    if judgement is not None:
        answers = f"- Recommended: {escape(sweep.recommend().text)}\n{answers}"
        answers += f"\n- Supported front: {', '.join(code(str(sweep.label(trial))) for trial in judgement.supported)}"
        best = sweep.best()
        answers += f"\n- Best by the rule {code(best.rule)} ({escape(best.basis)}): {_answer(best, objective)}"
    knee = sweep.knee()
    if knee.number in {trial.number for trial in sweep.front[1:-1]}:
        chance = None if judgement is None else judgement.knee_probabilities.get(knee.number, 0.0)
        sure = "" if chance is None else f" (it is the knee with probability {chance:.2f})"
        answers += f"\n- Knee, where the front bends: {_answer(knee, objective)}{sure}"
    return [
        "## Pareto front",
        (
            f"No other trial has both {objective.beats}. In brackets the 95 % interval; corrected: what to expect of "
            "the trial, chosen as it was. The supported front is the fewest trials that stand for all: none left out "
            "is significantly better than one of them with as low a cost. The test split is measured once and chooses "
            f"nothing.{''.join(f' {note[0].upper()}{note[1:]}.' for note in sweep.notes)}"
        ),
        table,
        answers,
    ]


def _front_cells(row: Row, searched: Sequence[str], objective: Objective) -> list[str]:
    gain, cost = objective.of_gain, row[objective.config.cost]
    value, low, high, corrected = (row[key] for key in (gain.key, *(f"{gain.key}_{end}" for end in names.GAIN_ENDS)))
    interval = f" ({_write(gain, low, 1)} to {_write(gain, high, 1)})" if low is not None else ""
    said = objective.of_cost.write(cost) if isinstance(cost, int | float) else ""
    share = f" ({_number(row['trainable_pct'], '.2f')} %)" if objective.config.cost == names.TRAINABLE_PARAMS else ""
    return [
        str(row["trial"]),
        code(str(row["frozen"])),
        *(_number(row[name], "g") if isinstance(row[name], float) else str(row[name]) for name in searched),
        _write(gain, value) + interval,
        _write(gain, corrected),
        _number(row["p_front"], ".2f"),
        said + share,
        _number(row["test_acc"], ".2%"),
        _number(row["duration_s"], ".0f"),
    ]


def _write(gain: Gain, value: object, digits: int = 2) -> str:
    return gain.write(value, digits) if isinstance(value, float) else ""


def _answer(trial: Trial, objective: Objective) -> str:
    gain = _write(objective.of_gain, trial.believed[trial.gain])
    cost = f"{objective.of_cost.write(getattr(trial, trial.cost))} {objective.of_cost.unit}"
    return f"{code(trial.label)} (trial {trial.number}), {gain} with {cost}"


def _show_blocks(sweep: Sweep) -> list[str]:
    effects = sweep.effects
    if not effects.compared:
        return []
    head, *rows = build_table(effects)
    return [
        "## What freezing a block changes",
        explain_effects(effects),
        _table(head, [[code(block), *numbers] for block, *numbers in rows]),
    ]


def _list_pruned(sweep: Sweep) -> list[str]:
    return _list_reasons("## Pruned trials", [trial for trial in sweep.trials if trial.state == "pruned"], sweep)


def _show_scores(sweep: Sweep) -> list[str]:
    said = describe_scores(sweep.complete)
    if said is None:
        return []
    return ["## What the scores before training were worth", f"{said[0].upper()}{said[1:]}."]


def _list_failures(sweep: Sweep) -> list[str]:
    return _list_reasons("## Failed trials", [trial for trial in sweep.trials if trial.has_failed], sweep)


def _list_reasons(title: str, trials: Sequence[TrialRecord], sweep: Sweep) -> list[str]:
    if not trials:
        return []
    cells = []
    for trial in trials:
        reason = " ".join((trial.error or "no reason was kept").split())
        short = reason if len(reason) <= _MAX_ERROR else reason[: _MAX_ERROR - 1] + "…"
        cells.append([str(trial.number), code(str(sweep.label(trial))), escape(short)])
    return [title, _table(["trial", "frozen", "reason"], cells)]


def _show_searches() -> list[str]:
    cells = [
        [escape(example.title), code(example.query), code(example.order_by) if example.order_by else ""]
        for example in CHEAT_SHEET
    ]
    return [
        "## Searches that work",
        "For the search field above the runs; a trial has one run for each seed.",
        _table(["finds", "search", "sort by"], cells),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""
