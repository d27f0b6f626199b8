"""What a front is between, and how its best is chosen: the command line offers it before it loads what follows it."""

from typing import Literal

Rule = Literal["expected", "supported", "measured"]
"""How the best is chosen: by what is to be expected of each trial, all of them considered; by what the data can tell
apart; or by the measured numbers as they are."""
GainKey = Literal["val_acc", "balanced_accuracy", "macro_f1", "val_loss"]
"""What a front may seek; `names.GAINED` describes it."""
CostKey = Literal[
    "trainable_params", "gflops_train_per_image", "s_per_epoch", "duration_s", "peak_memory_mb", "energy_wh"
]
"""What a front may save: quantities of `names.OF_RUN`."""
