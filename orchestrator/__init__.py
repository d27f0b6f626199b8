"""Which blocks of a pretrained network should I freeze? A sweep that answers with a Pareto front."""
