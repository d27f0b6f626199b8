"""How one run trains: the only room that imports torch, torchvision, lightning and datasets."""

from orchestrator.machine.environment import repair_environment

repair_environment()
