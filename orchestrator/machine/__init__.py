"""What this machine gives and takes: limits, GPUs, names, environment, standard streams. Knows no other room."""
