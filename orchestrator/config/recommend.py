"""How much accuracy a recommended trial may lose, and how sure that has to be."""

from pydantic import Field

from orchestrator.config.fields import Section


class RecommendConfig(Section):
    """Which trial is recommended: the fewest parameters that probably lose little. No result depends on it."""

    margin: float = Field(default=0.01, ge=0, le=1)
    """Accuracy that may be lost against the best trial, a fraction; 0.01 is one point."""
    confidence: float = Field(default=0.8, ge=0, le=1)
    """Probability with which no more may be lost. Where no trial reaches it, the best itself is recommended."""
