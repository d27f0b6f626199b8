"""Who watches a sweep on behalf of a person or a program."""
