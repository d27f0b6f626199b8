"""What a person sees while a sweep runs."""

import io
import signal
import time
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.cli.live import LiveObserver, PlainObserver, describe_plan
from orchestrator.cli.run_table import format_duration
from orchestrator.cli.sweep import _Stopper
from orchestrator.config.models import ExecutionConfig, SearchConfig
from orchestrator.records.facts import Cost
from orchestrator.records.record import Step
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.spec import Choice, Hyperparameters
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord
from tests.factories import make_experiment, make_result, make_spec, make_trial

VALUES = {"lr": 1e-4, "weight_decay": 0, "batch_size": 16, "optimizer": "adam"}
CHOICE = Choice(frozen="stem", hyperparameters=Hyperparameters.model_validate(VALUES))
EPOCH = EpochMetrics(epoch=2, train_loss=0.25, train_acc=0.875, val_loss=0.5, val_acc=0.75, lr=1e-4, duration_s=1.25)


@pytest.fixture
def start():
    cost = Cost(
        trainable_params=11_168_515, total_params=11_178_051, gflops_forward_per_image=1, gflops_train_per_image=3
    )
    return RunStart(name="trial_000_stem_seed0", trial=0, spec=make_spec(frozen="stem"), cost=cost, blocks=("stem",))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_read_well(seconds, text):
    assert format_duration(seconds) == text


def watch(observer, start):
    observer.on_plan(make_experiment(), [CHOICE], [])
    observer.on_run_start(start)
    observer.on_epoch(start, EPOCH)
    result = make_result(val_acc=0.75, best_epoch=2, epochs_run=3)
    observer.on_run_end(start, RunRecord(name=start.name, seed=0, fingerprint="f", state="complete", result=result))
    observer.on_trial_end(make_trial(number=0, frozen="stem", val_acc=0.75))


def test_without_a_terminal_each_epoch_is_one_plain_line(start):
    out = io.StringIO()
    watch(PlainObserver(Console(file=out, width=40)), start)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith(": 1 trials to run, 0 done")
    assert lines[1] == "trial_000_stem_seed0: starts, 11,168,515 parameters train"
    assert lines[2] == "trial_000_stem_seed0: epoch 3/3  val_acc 0.7500  val_loss 0.5000  1.2 s"
    assert lines[3].startswith("trial_000_stem_seed0: done, val_acc 0.7500 at epoch 3 of 3")
    assert lines[4] == "1 of 1 trials done"
    assert "\x1b" not in out.getvalue()


def test_quiet_keeps_messages_and_lost_runs(start):
    out = io.StringIO()
    observer = PlainObserver(Console(file=out, width=40), verbosity=-1)
    watch(observer, start)
    observer.on_message("heard")
    observer.on_run_end(start, RunRecord(name=start.name, seed=0, fingerprint="f", state="failed", error="worker died"))
    assert out.getvalue().splitlines()[1:] == ["heard", "trial_000_stem_seed0: lost: worker died"]


def test_a_run_that_was_stopped_is_not_lost(start):
    stopped = RunRecord(name=start.name, seed=0, fingerprint="f", state="put_off")
    out = io.StringIO()
    PlainObserver(Console(file=out, width=40)).on_run_end(start, stopped)
    assert out.getvalue() == "trial_000_stem_seed0: stopped\n"
    screen = io.StringIO()
    with LiveObserver(Console(file=screen, width=120, height=30, force_terminal=True, no_color=True)) as live:
        live.on_plan(make_experiment(), [CHOICE], [])
        live.on_run_start(start)
        live.on_run_end(start, stopped)
        live.on_trial_end(make_trial(frozen="stem").model_copy(update={"state": "put_off"}))
    last = screen.getvalue().rsplit("run", 1)[-1]
    assert "stopped" in last
    assert "0 of 1 trials done" in last
    assert "failed" not in last


def test_a_terminal_shows_one_table_with_the_last_state(start):
    out = io.StringIO()
    console = Console(file=out, width=120, height=30, force_terminal=True)
    with LiveObserver(console) as observer:
        watch(observer, start)
    last = out.getvalue().rsplit("run", 1)[-1]
    for piece in ("trial_000_stem_seed0", "3/3", "0.7500", "11,168,515", "1 of 1 trials done"):
        assert piece in last


def test_a_finished_sweep_says_why_it_trains_nothing():
    text = describe_plan(make_experiment(), [], [make_trial(number=n) for n in range(6)])
    assert "nothing to train: all 6 trials" in text


def test_the_time_to_go_counts_runs_side_by_side_and_those_under_way(start, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("orchestrator.cli.live.time.monotonic", lambda: now[0])
    live = LiveObserver(Console(file=io.StringIO(), width=120))
    monkeypatch.setattr(live._live, "start", lambda: None)
    live.on_plan(make_experiment(execution=ExecutionConfig(workers=2)), [CHOICE] * 5, [])
    live.on_run_start(start)
    now[0] += 50
    assert "time to go unknown yet" in live._summary(0)
    live.on_run_end(start, RunRecord(name=start.name, seed=0, fingerprint="f", state="complete", result=make_result()))
    live.on_trial_end(make_trial(number=0, frozen="stem"))
    live.on_run_start(replace(start, name="trial_001_stem_seed0"))
    now[0] += 20
    assert "about 1 min 30 s to go" in live._summary(0)  # (4 * 50 - 20) / 2


def test_a_run_that_was_answered_is_shown_as_such(start):
    live = LiveObserver(Console(file=io.StringIO(), width=120))
    result = make_result(val_acc=0.75, best_epoch=2, epochs_run=3)
    record = RunRecord(
        name=start.name, seed=0, fingerprint="f", state="complete", result=result, reused_from="other/trial_000"
    )
    live.on_run_end(start, record)
    page = io.StringIO()
    Console(file=page, width=120).print(live._render())
    assert "reused trial_000_stem_seed0" in page.getvalue()
    assert "3/3" in page.getvalue()
    assert "starts" not in page.getvalue()
    assert "1 run answered from finished trainings" in page.getvalue()


def test_what_takes_long_is_said_again_until_a_run_starts(start, monkeypatch):
    monkeypatch.setattr("orchestrator.cli.live.SILENCE_S", 0.05)
    monkeypatch.setattr("orchestrator.cli.live._POLL_S", 0.02)
    out = io.StringIO()
    with PlainObserver(Console(file=out, width=40)) as observer:
        observer.on_message(Step("loading PyTorch"))
        deadline = time.monotonic() + 10
        while "so far" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        observer.on_run_start(start)
        said = out.getvalue()
        time.sleep(0.2)
        assert out.getvalue() == said
    lines = said.splitlines()
    assert lines[0] == "loading PyTorch"
    assert set(lines[1:-1]) == {"loading PyTorch, for 0 s so far"}
    assert lines[-1].endswith("starts, 11,168,515 parameters train")


def test_quiet_says_no_steps():
    out = io.StringIO()
    PlainObserver(Console(file=out), verbosity=-1).on_message(Step("loading PyTorch"))
    assert out.getvalue() == ""


def test_a_terminal_shows_what_is_being_done(start):
    out = io.StringIO()
    console = Console(file=out, width=120, height=30, force_terminal=True, no_color=True)
    with LiveObserver(console) as live:
        live.on_message(Step("loading PyTorch"))
        deadline = time.monotonic() + 10
        while "loading PyTorch" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "loading PyTorch" in out.getvalue()
        live.on_plan(make_experiment(), [CHOICE], [])
        live.on_run_start(start)
        live.on_message(Step("drawing the pictures"))
        assert "drawing the pictures" in live._summary(0)


def test_a_first_signal_ends_what_has_not_begun_and_stops_what_runs(monkeypatch, capfd):
    ended = []
    monkeypatch.setattr("orchestrator.cli.sweep.os._exit", ended.append)
    stopper = _Stopper()
    stopper._hear(signal.SIGINT, None)
    assert (ended, stopper.event.is_set()) == ([130], False)
    assert "interrupted before anything has run; this goes on with it:" in capfd.readouterr().err
    stopper = _Stopper()
    stopper.begin()
    stopper._hear(signal.SIGTERM, None)
    assert (ended, stopper.event.is_set(), stopper.exit_code) == ([130], True, 143)
    stopper._hear(signal.SIGTERM, None)
    assert ended == [130, 143]


def pruned(start):
    reason = "pruned after 3 epochs: hopeless"
    record = RunRecord(name=start.name, seed=0, fingerprint="f", state="pruned", error=reason, pruned_after=3)
    return record, make_trial(frozen="stem").model_copy(update={"state": "pruned", "runs": (record,), "error": reason})


def test_a_run_that_waits_and_is_pruned_is_not_lost(start):
    record, trial = pruned(start)
    out = io.StringIO()
    observer = PlainObserver(Console(file=out, width=40))
    observer.on_plan(make_experiment(), [CHOICE], [])
    observer.on_run_pause(start, 3)
    observer.on_run_end(start, record)
    observer.on_trial_end(trial)
    assert out.getvalue().splitlines()[1:] == [
        "trial_000_stem_seed0: waits for the others after epoch 3",
        "trial_000_stem_seed0: pruned after 3 epochs: hopeless",
        "1 of 1 trials done",
    ]


def test_the_table_shows_who_waits_who_goes_on_and_who_is_pruned(start):
    record, trial = pruned(start)
    with LiveObserver(Console(file=io.StringIO(), width=120, height=30, force_terminal=True)) as live:

        def look():
            page = io.StringIO()
            Console(file=page, width=120).print(live._render())
            return page.getvalue()

        live.on_plan(make_experiment(), [CHOICE], [])
        live.on_run_start(start)
        live.on_epoch(start, EPOCH)
        live.on_run_pause(start, 3)
        assert "waits trial_000_stem_seed0" in look()
        live.on_run_start(start)
        last = look()
        assert "waits" not in last
        assert "3/3" in last  # its epochs are still there
        live.on_run_end(start, record)
        live.on_trial_end(trial)
        last = look()
        assert "pruned trial_000_stem_seed0" in last
        assert "1 of 1 trials done · 1 of them pruned" in last


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_of_a_narrow_terminal_has_whole_numbers_what_varies_and_the_seed(start, width):
    search = SearchConfig.model_validate({"lr": {"choices": [1e-4, 3e-4]}})
    rows = [
        replace(start, name=f"trial_{number:03d}_stem+layer1+layer2+layer3_lr=0.0001_seed{seed}")
        for number in (0, 1)
        for seed in (0, 1)
    ]
    with LiveObserver(Console(file=io.StringIO(), width=width, height=30, force_terminal=True)) as live:
        live.on_plan(make_experiment(search=search), [CHOICE], [])
        for row in rows:
            live.on_run_start(row)
            live.on_epoch(row, EPOCH)
        page = io.StringIO()
        Console(file=page, width=width).print(live._render())
    head, *lines = [line.rstrip() for line in page.getvalue().splitlines()[:5]]
    assert all(len(line) <= width for line in (head, *lines))
    assert head.split()[:5] == ["run", "lr", "epoch", "val_acc", "checkpoint"]
    assert ("trainable" in head, "time" in head) == (width >= 80, width >= 80)
    assert len({line.split()[0] for line in lines}) == 4
    for line, row in zip(lines, rows, strict=True):
        name, *values = line.split()
        assert (name[:9], name[-6:]) == (row.name[:9], row.name[-6:])
        assert values[:4] == ["0.0001", "3/3", f"{EPOCH.val_acc:.4f}", f"{EPOCH.val_acc:.4f}"]


def test_the_summary_says_that_it_is_the_highest_measured(start):
    live = LiveObserver(Console(file=io.StringIO(), width=120))
    live.on_trial_end(make_trial(frozen="stem", val_acc=0.75))
    assert "highest measured val_acc 0.7500" in live._summary(0)
    assert "best" not in live._summary(0)
