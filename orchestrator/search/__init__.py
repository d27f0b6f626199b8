"""The study: which trial comes next, and what is known of those before. The only room that imports optuna."""

from orchestrator.search.plan import plan_choices
from orchestrator.search.store import archive_study, count_archives, read_study, study_names
from orchestrator.search.study import OptunaSearch

__all__ = ["OptunaSearch", "archive_study", "count_archives", "plan_choices", "read_study", "study_names"]
