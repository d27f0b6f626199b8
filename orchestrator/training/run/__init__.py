"""One run: a specification becomes a trained network and a result."""
