"""Pictures of a sweep, drawn with matplotlib."""
