"""The loop of a sweep and the strategies that decide which runs it starts."""
