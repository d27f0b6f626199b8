"""How many runs at a time, and in which order, as the plan and the machine have it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.app.parts import PREPARATION, calling
from orchestrator.errors import SetupError
from orchestrator.interfaces import Observer
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.storage.cache import format_size

if TYPE_CHECKING:
    from orchestrator.machine.gpus import GpuShare
    from orchestrator.search import OptunaSearch


def settle_workers(prepared: Prepared, observer: Observer) -> Prepared:
    """Make `execution.workers` a number.

    On a CPU it follows from the whole plan, so a sweep that is gone on with has as many, unless memory is short by now:
    the number of threads of a run, and with it the last bit of its result, depends on it.
    """
    experiment = prepared.experiment
    workers = _count_workers(prepared, observer)
    if experiment.execution.workers == "auto" and workers > 1:
        observer.on_message(f"execution.workers is auto: {workers} runs at a time")
    execution = experiment.execution.model_copy(update={"workers": workers})
    return replace(prepared, experiment=experiment.model_copy(update={"execution": execution}))


def arrange_trials(search: "OptunaSearch", prepared: Prepared) -> None:
    """Let the trials of a plan start in the order in which they end soonest with as many runs at a time."""
    from orchestrator.app.packing import arrange_starts

    experiment, left = prepared.experiment, search.planned()
    if left and experiment.search.strategy == "full":
        work, seeds = [prepared.work[choice.frozen] for choice in left], len(experiment.replicates)
        order = arrange_starts(work, experiment.execution.runs_at_a_time, runs_each=seeds)
        search.arrange([left[place] for place in order])


def _count_workers(prepared: Prepared, observer: Observer) -> int:
    from orchestrator.app.packing import choose_packing, choose_workers, count_fitting
    from orchestrator.machine.limits import count_cores
    from orchestrator.search import plan_choices

    experiment, costs = prepared.experiment, prepared.costs
    if experiment.execution.mode == "inline":
        return 1
    if experiment.execution.workers != "auto":
        return experiment.execution.workers
    choices, _ = plan_choices(experiment, costs)
    seeds = len(experiment.replicates)
    if choices is None:
        of_runs = [1.0] * (experiment.search.n_trials or 1) * seeds
    else:
        of_runs = [prepared.work[choice.frozen] for choice in choices for _ in range(seeds)]
    if experiment.trainer.accelerator == "cpu":
        return choose_workers(of_runs, cores=count_cores(), most=count_fitting(experiment))
    observer.on_message(Step("measuring what a run takes of a GPU"))
    share = _measure_gpu_share(prepared, observer)
    if share is None:
        return max(1, min(prepared.gpus, len(of_runs)))
    observer.on_message(f"a run keeps a GPU busy for {share.busy:.0%} of the time and takes {format_size(share.bytes)}")
    return choose_packing(share, gpus=prepared.gpus, cores=count_cores(), runs=len(of_runs))


def _measure_gpu_share(prepared: Prepared, observer: Observer) -> "GpuShare | None":
    """Measure how much of a GPU a run takes, in a process that ends with it; None where that cannot be done."""
    experiment, data = prepared.experiment, prepared.data
    arguments = experiment, len(data.class_names), experiment.data.count_images(data.split_sizes)
    with calling(experiment, f"{PREPARATION}:measure_gpu_share", *arguments) as measuring:
        try:
            share: GpuShare | None = measuring.result(observer.on_message)
        except SetupError as error:  # the process died
            from orchestrator.machine.gpus import explain_no_share

            observer.on_message(explain_no_share(error))
            return None
    return share
