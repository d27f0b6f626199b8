"""Where runs happen: in this process, or each in a worker process of its own."""
