"""Names of metrics, params, tags and artifacts: one place, so that a search string never misses."""

from typing import Final, Literal

# Summary metrics of a run: flat, so that a search needs no quotes; logged once at step 0.
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
GAP_TRAIN_VAL: Final = "gap_train_val"

# Curves: the epoch is the step. The step loss has the optimizer step as its step.
CURVE_TRAIN_LOSS: Final = "train/loss"
CURVE_TRAIN_ACC: Final = "train/acc"
CURVE_VAL_LOSS: Final = "val/loss"
CURVE_VAL_ACC: Final = "val/acc"
CURVE_LR: Final = "lr"
CURVE_STEP_LOSS: Final = "train/loss_step"

# Summary metrics of runs on a GPU only.
RESIDENT_MB: Final = "resident_mb"

# Params of a run.
FROZEN: Final = "frozen"
N_FROZEN: Final = "n_frozen"
FREEZE_PREFIX: Final = "freeze_"
SEED: Final = "seed"

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
"""The highest measured `val_acc` of a complete trial, whatever chance made of it; stores of before have the key."""
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
TRIAL: Final = "trial"
STATE: Final = "state"
MLFLOW_RUN_ID: Final = "mlflow_run_id"
CHECKPOINT: Final = "checkpoint"
ERROR: Final = "error"

# Columns of the table of blocks: what freezing a block changes.
BLOCK: Final = "block"
BESIDES: Final = "besides"
"""Key of what is frozen besides, where it is the same in all pairs of trials."""
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

# Rules.
Rule = Literal["supported", "point"]
"""How the best is chosen: by what the data can tell apart, or by the measured numbers as they are."""

# Files.
BEST_CHECKPOINT: Final = "best.ckpt"
SPEC_FILE: Final = "spec.json"
PREDICTIONS_FILE: Final = "predictions.npz"
RESULT_FILE: Final = "result.json"
RECORD_FILE: Final = "record.json"
RUNG_FILE: Final = "rung-{:03d}.json"
"""Where a run stood after so many epochs."""

# States.
PUT_OFF: Final = "put_off"
"""State of what was stopped before its end and is gone on with by the next start; tag of its MLflow run."""
