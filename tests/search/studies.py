"""Searches over made-up costs, and studies read back through plain Optuna."""

from collections.abc import Sequence
from typing import Any

import optuna

from orchestrator.blocks import all_sets
from orchestrator.config.models import SearchConfig
from orchestrator.records.facts import Cost
from orchestrator.records.spec import Proposal
from orchestrator.records.trials import TrialRecord
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from tests.factories import RESNET18, make_cost, make_experiment, make_result, make_run

COSTS: dict[str, Cost] = {frozen.key: make_cost(frozen.key) for frozen in all_sets(RESNET18)}


def open_search(
    root: Root, name: str = "demo", *, experiment: dict[str, Any] | None = None, **search: Any
) -> OptunaSearch:
    return OptunaSearch(root, make_experiment(name, search=SearchConfig(**search), **(experiment or {})), COSTS)


def read_back(root: Root, name: str = "demo") -> optuna.Study:
    """Load a study as anybody would who knows nothing of this project."""
    return optuna.load_study(study_name=name, storage=f"sqlite:///{root.path}/optuna.db")


def finish(
    search: OptunaSearch, proposal: Proposal, accuracy: float = 0.5, *, seeds: Sequence[int] = (0,)
) -> TrialRecord:
    """Tell a proposal complete, with one run a seed."""
    frozen = proposal.choice.frozen
    runs = [
        make_run(
            proposal.number,
            frozen,
            seed,
            result=make_result(frozen, accuracy, seed, trainable_params=COSTS[frozen].trainable_params),
        )
        for seed in seeds
    ]
    return search.tell(proposal.number, runs)


def run_all(search: OptunaSearch, *, limit: int = 100) -> list[Proposal]:
    """Run a search to its end; the accuracy falls with the number of frozen blocks."""
    proposals: list[Proposal] = []
    while (proposal := search.propose()) is not None:
        assert len(proposals) < limit, "the search does not end"
        proposals.append(proposal)
        if proposal.repeats is None:
            finish(search, proposal, 1 - 0.1 * str(proposal.choice.frozen).count("layer"))
    return proposals
