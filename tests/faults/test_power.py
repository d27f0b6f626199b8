"""A power cut: the sweep goes on from what had reached the disk, and all stores agree."""

from collections.abc import Callable

import pytest

from tests.faults import power
from tests.faults.cases import one_of
from tests.faults.sweeps import Place, Whole, Zygote

pytestmark = pytest.mark.slow
Inject = Callable[[str], None]


@pytest.mark.parametrize(
    "point",
    one_of(
        "orchestrator.storage.ledger:Ledger.enter:after:2",
        "orchestrator.tracking.tensorboard:TensorBoardRun.log_epoch:after:6",
        "orchestrator.tracking.mlflow.run:MlflowRun.finish:after:1",
        "orchestrator.tracking.fanout:FanoutRun.finish:after:1",
        "orchestrator.storage.ledger:Ledger.enter:after:1",
        "orchestrator.storage.ledger:Ledger.enter:after:3",
        "orchestrator.search.study:OptunaSearch.tell:after:1",
        "orchestrator.search.study:OptunaSearch.tell:after:3",
        "orchestrator.tracking.fanout:FanoutTracker.end_sweep:after:1",
        "orchestrator.search.study:OptunaSearch.close:after:1",
    ),
)
def test_the_power_is_cut_in_the_middle_of_a_commit(
    point: str, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    notes = quick_place.folder / "notes"
    notes.mkdir()
    command = zygote.start(quick_place, FAULT_POINT=point, FAULT_POWER=str(notes))
    assert command.wait() == -9, f"the point was never reached: {command.said}"
    inject("power cut")
    assert quick_place.wait_for_deaths() == []
    power.rebuild(quick_place.root, notes)
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []
