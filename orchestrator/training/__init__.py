"""How one run trains: the only room that imports torch, torchvision, lightning and datasets."""
