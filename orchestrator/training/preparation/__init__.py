"""What is done once before anything trains."""
