"""The study: which trial comes next, and what is known of those before. The only room that imports optuna."""

from orchestrator.search.archive import archive_sweep, count_archives, finish_archive
from orchestrator.search.importance import measure_importance
from orchestrator.search.plan import count_points, plan_choices
from orchestrator.search.store import (
    STORE_ERRORS,
    explain,
    read_scores,
    read_study,
    study_names,
)
from orchestrator.search.study import OptunaSearch

__all__ = [
    "STORE_ERRORS",
    "OptunaSearch",
    "archive_sweep",
    "count_archives",
    "count_points",
    "explain",
    "finish_archive",
    "measure_importance",
    "plan_choices",
    "read_scores",
    "read_study",
    "study_names",
]
