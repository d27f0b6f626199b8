"""A sweep that is small but real."""

from orchestrator.config.models import DataConfig, Experiment, ModelConfig, SearchConfig, SyntheticConfig, TrainerConfig

KEYS = ("none", "layer4", "stem+layer1+layer2+layer3+layer4")
"""In the order in which they run."""


def make_experiment(name: str = "small", **overrides) -> Experiment:
    fields = {
        "data": DataConfig(
            source="synthetic",
            image_size=32,
            batch_size=8,
            synthetic=SyntheticConfig(train=24, validation=12, test=9),
        ),
        "model": ModelConfig(weights="none", num_classes=3),
        "trainer": TrainerConfig(max_epochs=2, lr=1e-3, accelerator="cpu"),
        "search": SearchConfig(mode="list", frozen=KEYS),
    }
    return Experiment(name=name, **(fields | overrides))
