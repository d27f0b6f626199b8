"""Names, one place for each: the quantities with all that is stated of them, and params, tags and columns.

A metric of a run is added here, as a member of `OF_RUN`, and where it is computed, as an item of `RunResult.measured`.
Trackers, tables, their formats and `docs/metrics.md` follow.
"""

from typing import Final

from orchestrator import quantities as kind
from orchestrator.quantities import Quantity

# Quantities of a run or an epoch: flat, so that a search needs no quotes; of a run they are logged once, at step 0.
VAL_ACC: Final = "val_acc"
VAL_LOSS: Final = "val_loss"
TRAIN_ACC: Final = "train_acc"
TRAIN_LOSS: Final = "train_loss"
TEST_ACC: Final = "test_acc"
TEST_LOSS: Final = "test_loss"
BEST_EPOCH: Final = "best_epoch"
EPOCHS_RUN: Final = "epochs_run"
TRAINABLE_PARAMS: Final = "trainable_params"
TRAINABLE_PCT: Final = "trainable_pct"
TOTAL_PARAMS: Final = "total_params"
DURATION_S: Final = "duration_s"
S_PER_EPOCH: Final = "s_per_epoch"
IMAGES_PER_S: Final = "images_per_s"
GFLOPS_FORWARD: Final = "gflops_forward_per_image"
GFLOPS_TRAIN: Final = "gflops_train_per_image"
PEAK_MEMORY_MB: Final = "peak_memory_mb"
ENERGY_WH: Final = "energy_wh"
GAP_TRAIN_VAL: Final = "gap_train_val"
RESIDENT_MB: Final = "resident_mb"
BALANCED_ACCURACY: Final = "balanced_accuracy"
MACRO_F1: Final = "macro_f1"
LR: Final = "lr"

# Curves: the epoch is the step. The step loss has the optimizer step as its step.
CURVE_TRAIN_LOSS: Final = "train/loss"
CURVE_TRAIN_ACC: Final = "train/acc"
CURVE_VAL_LOSS: Final = "val/loss"
CURVE_VAL_ACC: Final = "val/acc"
CURVE_BALANCED_ACCURACY: Final = "val/balanced_accuracy"
CURVE_MACRO_F1: Final = "val/macro_f1"
CURVE_LR: Final = "lr"
CURVE_STEP_LOSS: Final = "train/loss_step"

# Params of a run.
FROZEN: Final = "frozen"
N_FROZEN: Final = "n_frozen"
FREEZE_PREFIX: Final = "freeze_"
TUNE_PREFIX: Final = "tune_"
SEED: Final = "seed"
FOLD: Final = "fold"

# Scores from before training: of a frozen set, and in the sweep's run of each block, whose name follows.
LOGME: Final = "logme"
GRAD_SHARE_FROZEN: Final = "grad_share_frozen"
LOGME_PREFIX: Final = "logme_"
GRAD_NORM_PREFIX: Final = "grad_norm_"

# Tags.
KIND: Final = "kind"
KIND_SWEEP: Final = "sweep"
KIND_RUN: Final = "run"
SWEEP: Final = "sweep"
OPTUNA_TRIAL: Final = "optuna_trial"
PARETO: Final = "pareto"
CONFIG_HASH: Final = "config_hash"
FINGERPRINT: Final = "fingerprint"
REUSED_FROM: Final = "reused_from"
EPOCHS_FROM: Final = "epochs_from"
"""What a sweep's first epoch is called in its curves and in `best_epoch`: 1. Sweeps without the tag count from 0: they
were begun by an earlier version, and keep their count, so that no curve has a gap and no column two meanings."""

# Shared views of the MLflow UI: kept as tags of the experiment, chosen by a key of the page's address.
VIEW_TAG: Final = "mlflow.sharedViewState."
VIEW_KEY: Final = "viewStateShareKey"
VIEW_NESTED: Final = "sweep"
VIEW_RUNS: Final = "runs"

# Summary metrics of a sweep.
N_TRIALS: Final = "n_trials"
N_FAILED: Final = "n_failed"
N_PRUNED: Final = "n_pruned"
FRONT_SIZE: Final = "front_size"
HYPERVOLUME: Final = "hypervolume"
HYPERVOLUME_LOW: Final = "hypervolume_low"
HYPERVOLUME_HIGH: Final = "hypervolume_high"
SUPPORTED_SIZE: Final = "supported_size"
BEST_VAL_ACC: Final = "best_val_acc"
LOGME_RANK_CORRELATION: Final = "logme_rank_correlation"
GRAD_SHARE_FROZEN_RANK_CORRELATION: Final = "grad_share_frozen_rank_correlation"
TRAINABLE_PARAMS_RANK_CORRELATION: Final = "trainable_params_rank_correlation"

# Columns and JSON keys of the tables, besides the metric names.
VAL_ACC_LOW: Final = "val_acc_low"
VAL_ACC_HIGH: Final = "val_acc_high"
VAL_ACC_CORRECTED: Final = "val_acc_corrected"
P_FRONT: Final = "p_front"
SUPPORTED: Final = "supported"
TEST_ACC_LOW: Final = "test_acc_low"
TEST_ACC_HIGH: Final = "test_acc_high"
TEST_DROP: Final = "test_drop"
HIGHEST_MEASURED_VAL_ACC: Final = "highest_measured_val_acc"
TRIAL: Final = "trial"
STATE: Final = "state"
MLFLOW_RUN_ID: Final = "mlflow_run_id"
CHECKPOINT: Final = "checkpoint"
ERROR: Final = "error"

# Columns of the table of blocks: what freezing a block changes.
BLOCK: Final = "block"
TUNING: Final = "tuning"
INSTEAD_OF: Final = "instead_of"
BESIDES: Final = "besides"
N_PAIRS: Final = "n_pairs"
N_SEEDS: Final = "n_seeds"
VAL_ACC_EFFECT: Final = "val_acc_effect"
VAL_ACC_EFFECT_LOW: Final = "val_acc_effect_low"
VAL_ACC_EFFECT_HIGH: Final = "val_acc_effect_high"
GFLOPS_TRAIN_EFFECT: Final = "gflops_train_per_image_effect"
TRAINABLE_PARAMS_EFFECT: Final = "trainable_params_effect"
DURATION_S_EFFECT: Final = "duration_s_effect"
DURATION_S_EFFECT_LOW: Final = "duration_s_effect_low"
DURATION_S_EFFECT_HIGH: Final = "duration_s_effect_high"
NEXT_BLOCK: Final = "next_block"
N_SQUARES: Final = "n_squares"
INTERACTION: Final = "interaction"
INTERACTION_LOW: Final = "interaction_low"
INTERACTION_HIGH: Final = "interaction_high"
PED_ANOVA: Final = "ped_anova"

# Columns of the table of comparisons.
CHEAPER: Final = "cheaper"
OTHER: Final = "other"
CHEAPER_TRIAL: Final = "cheaper_trial"
OTHER_TRIAL: Final = "other_trial"
DIFFERENCE: Final = "difference"
LOW: Final = "low"
HIGH: Final = "high"
STANDARD_ERROR: Final = "standard_error"
P_VALUE: Final = "p_value"
P_VALUE_ADJUSTED: Final = "p_value_adjusted"

# The quantities by group, in the order of their columns.
OBJECTIVES: Final = (
    Quantity(key=VAL_ACC, kind=kind.ACCURACY, meaning="Accuracy on the validation images in the best epoch"),
    Quantity(key=TRAINABLE_PARAMS, kind=kind.PARAMETERS, meaning="Parameters that train"),
)
"""Quantities of a run between which the search looks for the front; a trial has its runs' mean, or what they share."""
MEANS: Final = (
    Quantity(key=VAL_LOSS, kind=kind.LOSS, meaning="Mean cross-entropy over the validation images, likewise"),
    Quantity(key=TRAIN_ACC, kind=kind.ACCURACY, meaning="Accuracy on the training images during the best epoch"),
    Quantity(key=TRAIN_LOSS, kind=kind.LOSS, meaning="Mean cross-entropy over the training images, likewise"),
    Quantity(key=TEST_ACC, kind=kind.ACCURACY, meaning="Accuracy on the test images, measured once: it chooses none"),
    Quantity(key=TEST_LOSS, kind=kind.LOSS, meaning="Mean cross-entropy over the test images, likewise"),
    Quantity(key=GAP_TRAIN_VAL, kind=kind.ACCURACY_DROP, meaning="`train_acc` minus `val_acc`: how much it overfits"),
    Quantity(
        key=BEST_EPOCH,
        kind=kind.EPOCHS,
        meaning="Epoch that is best by `trainer.monitor` (lowest `val_loss` by default), from 1; its weights are kept",
    ),
    Quantity(key=EPOCHS_RUN, kind=kind.EPOCHS, meaning="Epochs that were trained"),
    Quantity(key=DURATION_S, kind=kind.SECONDS, meaning="Duration of the whole run, loading included"),
    Quantity(key=S_PER_EPOCH, kind=kind.SECONDS_PER_EPOCH, meaning="Median duration of an epoch"),
    Quantity(
        key=IMAGES_PER_S,
        kind=kind.IMAGES_PER_SECOND,
        meaning="Training and validation images a second, over all epochs",
    ),
    Quantity(
        key=PEAK_MEMORY_MB,
        kind=kind.MEBIBYTES,
        meaning="Peak memory: on a GPU of network, optimizer and training steps, else the process's resident set",
    ),
)
"""Quantities that differ from run to run: a trial has their mean over its seeds."""
SHARED: Final = (
    Quantity(key=TOTAL_PARAMS, kind=kind.PARAMETERS, meaning="Parameters of the network"),
    Quantity(key=TRAINABLE_PCT, kind=kind.PERCENT, meaning="Trainable share of the parameters"),
    Quantity(
        key=GFLOPS_FORWARD,
        kind=kind.GFLOPS,
        meaning="Forward pass of one image; a multiply-add counts as two operations",
    ),
    Quantity(key=GFLOPS_TRAIN, kind=kind.GFLOPS, meaning="Forward and backward pass of one training image, likewise"),
)
"""Quantities that all runs of a trial share."""
TRACKED: Final = (
    Quantity(
        key=BALANCED_ACCURACY,
        kind=kind.ACCURACY,
        meaning="Mean recall of the classes on the validation images, in the best epoch",
    ),
    Quantity(
        key=MACRO_F1, kind=kind.ACCURACY, meaning="Mean F1 score of the classes on the validation images, likewise"
    ),
    Quantity(
        key=RESIDENT_MB,
        kind=kind.MEBIBYTES,
        meaning="Memory of the GPU that images or activations take besides, all through the run; none on a CPU",
    ),
    Quantity(
        key=ENERGY_WH, kind=kind.WATT_HOURS, meaning="Energy that the run's GPU took meanwhile, other runs' included"
    ),
)
"""Quantities of a run that trackers show and tables do not."""
OF_RUN: Final = (*OBJECTIVES, *MEANS, *SHARED, *TRACKED)
"""Quantities of a run, metrics of its MLflow run."""
BELIEF: Final = (
    Quantity(
        key=VAL_ACC_LOW,
        kind=kind.ACCURACY,
        meaning="Lower end of the 95 % interval of `val_acc`: over images, and over several seeds",
    ),
    Quantity(key=VAL_ACC_HIGH, kind=kind.ACCURACY, meaning="Upper end of the same"),
    Quantity(
        key=VAL_ACC_CORRECTED,
        kind=kind.ACCURACY,
        meaning="Accuracy to expect, all trials considered: being chosen does not inflate it",
    ),
    Quantity(key=P_FRONT, kind=kind.PROBABILITY, meaning="Probability of being on the front of true accuracies"),
    Quantity(key=SUPPORTED, kind=kind.VERDICT, meaning="On the supported front: the fewest trials that stand for all"),
)
"""How far a trial's `val_acc` can be believed."""
GAINED: Final = (
    Quantity(key=BALANCED_ACCURACY, kind=kind.ACCURACY, meaning="Mean recall of the classes of validation images"),
    Quantity(key=MACRO_F1, kind=kind.ACCURACY, meaning="Mean F1 of the classes that images have or are taken for"),
)
"""What a front may seek that is computed from predictions when it is asked for; a trial has its runs' mean."""
GAIN_ENDS: Final = {
    "low": "Lower end of the 95 % interval of `{}`, where that is the gain",
    "high": "Upper end of the same",
    "corrected": "What to expect of `{}`, where that is the gain, all trials considered",
}
"""Columns of a gain, after its key and `_`: how far it can be believed."""
GAIN_BELIEF: Final = tuple(
    Quantity(key=f"{gain.key}_{end}", kind=gain.kind, meaning=meaning.format(gain.key))
    for gain in (*GAINED, MEANS[0])
    for end, meaning in GAIN_ENDS.items()
)
"""How far a trial's gain can be believed where it is another than `val_acc`."""
SCORES: Final = (
    Quantity(
        key=LOGME,
        kind=kind.EVIDENCE,
        meaning="LogME of what the last block before the first that trains gives, where there is one",
    ),
    Quantity(
        key=GRAD_SHARE_FROZEN,
        kind=kind.GRADIENT,
        meaning="Share of the squared relative gradient norms in the frozen blocks",
    ),
)
"""What is known of a frozen set before anything trains; metrics of the MLflow run too."""
COUNTED: Final = (Quantity(key=N_SEEDS, kind=kind.COUNT, meaning="Finished runs, each with a seed of its own"),)
"""What is counted of a trial."""
OF_FRONT: Final = (
    Quantity(key=TEST_ACC_LOW, kind=kind.ACCURACY, meaning="Lower end of the 95 % interval of `test_acc`"),
    Quantity(key=TEST_ACC_HIGH, kind=kind.ACCURACY, meaning="Upper end of the same"),
    Quantity(
        key=TEST_DROP,
        kind=kind.ACCURACY_DROP,
        meaning="`val_acc` minus `test_acc`: what choosing by validation made of it, and chance",
    ),
)
"""Quantities of a trial on the front, beside those of any trial."""
OF_EPOCH: Final = (
    Quantity(
        key=TRAIN_LOSS,
        kind=kind.LOSS,
        meaning="Cross-entropy over the training images, as they are trained on",
        curve=CURVE_TRAIN_LOSS,
    ),
    Quantity(
        key=TRAIN_ACC, kind=kind.ACCURACY, meaning="Accuracy on the training images, likewise", curve=CURVE_TRAIN_ACC
    ),
    Quantity(key=VAL_LOSS, kind=kind.LOSS, meaning="Cross-entropy over the validation images", curve=CURVE_VAL_LOSS),
    Quantity(key=VAL_ACC, kind=kind.ACCURACY, meaning="Accuracy on the validation images", curve=CURVE_VAL_ACC),
    Quantity(
        key=BALANCED_ACCURACY,
        kind=kind.ACCURACY,
        meaning="Mean recall of the classes on the validation images",
        curve=CURVE_BALANCED_ACCURACY,
    ),
    Quantity(
        key=MACRO_F1,
        kind=kind.ACCURACY,
        meaning="Mean F1 score of the classes on the validation images",
        curve=CURVE_MACRO_F1,
    ),
    Quantity(key=LR, kind=kind.NUMBER, meaning="Learning rate at the end of the epoch", curve=CURVE_LR),
    Quantity(key=DURATION_S, kind=kind.SECONDS, meaning="Duration of the epoch, validation included"),
)
"""Quantities of an epoch. Accuracies and losses are means over images."""
OF_STEP: Final = (
    Quantity(key="loss", kind=kind.LOSS, meaning="Cross-entropy of a step's batch", curve=CURVE_STEP_LOSS),
)
"""Quantities of an optimizer step: steps are counted from 0."""

# What people see first, in this order.
FIRST_IN_TENSORBOARD: Final = (VAL_ACC, TEST_ACC, TRAINABLE_PARAMS, VAL_LOSS, DURATION_S)
FIRST_IN_MLFLOW: Final = (VAL_ACC, TEST_ACC, TRAINABLE_PARAMS, GAP_TRAIN_VAL, DURATION_S)

# States.
PUT_OFF: Final = "put_off"
"""State of what was stopped before its end and is gone on with by the next start; tag of its MLflow run."""
