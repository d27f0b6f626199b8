"""The strategy that runs every trial to its end."""

from collections.abc import Sequence

from orchestrator.interfaces import Search
from orchestrator.records.prepared import Prepared
from orchestrator.records.spec import Choice
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.sweep.jobs import Job, TrialRuns
from orchestrator.sweep.strategy import NextStep, build_job, fail_or_put_off


class FullStrategy:
    """Runs each trial that the search proposes to its end, once for each seed, and each fold of it.

    Args:
        prepared: What to run.
        search: Proposes trials.
    """

    def __init__(self, prepared: Prepared, search: Search) -> None:
        self._prepared = prepared
        self._search = search
        self._trials: dict[int, TrialRuns] = {}

    @property
    def left(self) -> Sequence[Choice] | None:
        """Points that are left to run, in order; None where a sampler decides."""
        return self._search.planned()

    @property
    def paused(self) -> Sequence[Job]:
        """None: nothing pauses."""
        return ()

    @property
    def under_way(self) -> Sequence[TrialRuns]:
        """Trials that were proposed and that the search has not been told of."""
        return list(self._trials.values())

    def settle(self, prepared: Prepared) -> None:
        """Take over what is to run."""
        self._prepared = prepared

    def next_step(self) -> NextStep | None:
        """Return the runs of the next trial."""
        proposal = self._search.propose()
        if proposal is None:
            return None
        if proposal.repeats is not None:
            return NextStep(repeat=proposal)
        trial = self._trials[proposal.number] = TrialRuns(proposal=proposal)
        return NextStep(
            jobs=[
                build_job(self._prepared, trial, replicate.seed, fold=replicate.fold)
                for replicate in self._prepared.experiment.replicates
            ]
        )

    def pause(self, job: Job) -> None:
        """Refuse: no run of this strategy is told to pause."""
        raise ValueError(f"{job.start.name} paused, and nobody told it to")

    def end_run(self, job: Job, record: RunRecord) -> TrialRecord | None:
        """Tell the search of the trial when its last run ends."""
        trial = job.trial
        trial.add(record)
        if trial.waiting:
            return None
        order = self._prepared.experiment.replicates.index
        trial.runs.sort(key=lambda run: order(run.replicate))
        del self._trials[trial.proposal.number]
        return fail_or_put_off(self._search, trial) or self._search.tell(trial.proposal.number, trial.runs)

    def close(self) -> list[TrialRecord]:
        """Nothing is left: each trial ends with its last run."""
        return []
