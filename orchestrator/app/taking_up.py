"""How a sweep takes up its study: started afresh, or gone on with."""

from dataclasses import replace

from orchestrator.config.models import Experiment
from orchestrator.interfaces import Observer
from orchestrator.records.labels import label_planned
from orchestrator.records.prepared import Prepared
from orchestrator.search import OptunaSearch, archive_sweep, count_archives
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger


def take_up_study(
    root: Root, experiment: Experiment, prepared: Prepared, observer: Observer, *, fresh: bool, archived: str | None
) -> tuple[Prepared, OptunaSearch]:
    """Open the study of an experiment; say what it leaves out and what a death left running.

    Args:
        root: Where it lies.
        experiment: As it was configured.
        prepared: What the sweep is to run.
        observer: Hears what there is to say.
        fresh: Begin a new study; the old one stays, under another name.
        archived: That name, where an earlier call has started afresh and died.

    Returns:
        What to run, with the number of the study, and the study.

    Raises:
        ConfigError: The study is of another experiment.
    """
    if fresh and archived is None:
        archived = archive_sweep(root, experiment.name)
    if archived is not None:
        observer.on_message(f"the sweep of {experiment.name} starts afresh; the old study is {archived!r}")
    prepared = replace(prepared, generation=count_archives(root, experiment.name), older=Ledger(root).find_older())
    search = OptunaSearch(root, experiment, prepared.costs, prepared.scores)
    search.require_identity(prepared.identity, prepared.weights_file)
    if search.retold:
        objective = experiment.search.objective
        observer.on_message(
            f"the study now optimises {objective.gain} against {objective.cost}: the values of {search.retold} "
            "finished trials are computed from what their runs kept, nothing is trained again for it"
        )
    if search.left_out:
        limit = prepared.experiment.search.max_trainable_params
        observer.on_message(
            f"left out, over search.max_trainable_params={limit}: {', '.join(map(str, search.left_out))}"
        )
    for trial in search.reconcile():
        label = label_planned(prepared.experiment, trial)
        observer.on_message(f"trial {trial.number} ({label}) was left running by a dead process: it is gone on with")
    return prepared, search
