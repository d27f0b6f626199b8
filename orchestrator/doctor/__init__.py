"""What a sweep needs of its surroundings, looked at in seconds. Nothing is changed but for a temporary file."""

from orchestrator.doctor.examination import examine
from orchestrator.doctor.finding import Finding

__all__ = ["Finding", "examine"]
