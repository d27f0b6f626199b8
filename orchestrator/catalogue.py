"""Every quantity that a sweep states, by group: those of blocks, comparisons and sweeps; of runs see `names`.

`orchestrator metrics` and `docs/metrics.md` list them.
"""

from typing import Final

from orchestrator import names
from orchestrator import quantities as kind
from orchestrator.quantities import Group, Quantity

OF_BLOCK: Final = (
    Quantity(key=names.BLOCK, kind=kind.TEXT, meaning="The block"),
    Quantity(key=names.TUNING, kind=kind.TEXT, meaning="What it does: `frozen`, or a tuning such as `norm`"),
    Quantity(
        key=names.INSTEAD_OF, kind=kind.TEXT, meaning="What it does in the other trial of a pair: `full`, or a tuning"
    ),
    Quantity(
        key=names.BESIDES, kind=kind.TEXT, meaning="Key of what is frozen besides, where it is the same in all pairs"
    ),
    Quantity(key=names.N_PAIRS, kind=kind.COUNT, meaning="Pairs of trials that differ in the block alone"),
    Quantity(key=names.N_SEEDS, kind=kind.COUNT_IF_KNOWN, meaning="Seeds that all of these trials have"),
    Quantity(key=names.VAL_ACC_EFFECT, kind=kind.ACCURACY, meaning="Change of `val_acc` where the block does so"),
    Quantity(key=names.VAL_ACC_EFFECT_LOW, kind=kind.ACCURACY, meaning="Lower end of its 95 % interval"),
    Quantity(key=names.VAL_ACC_EFFECT_HIGH, kind=kind.ACCURACY, meaning="Upper end of the same"),
    Quantity(key=names.GFLOPS_TRAIN_EFFECT, kind=kind.GFLOPS, meaning="Change of `gflops_train_per_image`"),
    Quantity(key=names.TRAINABLE_PARAMS_EFFECT, kind=kind.PARAMETERS, meaning="Change of `trainable_params`"),
    Quantity(
        key=names.DURATION_S_EFFECT,
        kind=kind.SECONDS,
        meaning="Change of `duration_s`, of runs that had the machine alike",
    ),
    Quantity(key=names.DURATION_S_EFFECT_LOW, kind=kind.SECONDS, meaning="Lower end of its 95 % interval"),
    Quantity(key=names.DURATION_S_EFFECT_HIGH, kind=kind.SECONDS, meaning="Upper end of the same"),
    Quantity(key=names.NEXT_BLOCK, kind=kind.TEXT, meaning="The block after it"),
    Quantity(
        key=names.N_SQUARES, kind=kind.COUNT, meaning="Squares of four trials that differ in these two blocks alone"
    ),
    Quantity(
        key=names.INTERACTION,
        kind=kind.ACCURACY_CHANGE,
        meaning="How much the effect on `val_acc` changes once the next block is frozen",
    ),
    Quantity(key=names.INTERACTION_LOW, kind=kind.ACCURACY_CHANGE, meaning="Lower end of its 95 % interval"),
    Quantity(key=names.INTERACTION_HIGH, kind=kind.ACCURACY_CHANGE, meaning="Upper end of the same"),
    Quantity(
        key=names.PED_ANOVA,
        kind=kind.IMPORTANCE,
        meaning="PED-ANOVA's share of the block in what tells good trials apart",
    ),
)
"""What freezing a block changes: frozen minus training, the mean over pairs of trials that differ in it alone. Of a
block that trains in part in some trials, each two levels that it has are compared."""
OF_PRETRAINED_BLOCK: Final = (
    Quantity(
        key=f"{names.LOGME_PREFIX}BLOCK", kind=kind.EVIDENCE, meaning="LogME of what the block gives for an image"
    ),
    Quantity(key=f"{names.GRAD_NORM_PREFIX}BLOCK", kind=kind.NUMBER, meaning="Its gradient's norm over its weights'"),
)
"""Scores of the pretrained network's blocks, metrics of the sweep's MLflow run; the block's name ends the key."""
OF_COMPARISON: Final = (
    Quantity(key=names.CHEAPER, kind=kind.TEXT, meaning="Label of the trial with the lower cost"),
    Quantity(key=names.OTHER, kind=kind.TEXT, meaning="Label of the other trial"),
    Quantity(key=names.CHEAPER_TRIAL, kind=kind.COUNT, meaning="Number of the trial with the lower cost"),
    Quantity(key=names.OTHER_TRIAL, kind=kind.COUNT, meaning="Number of the other trial"),
    Quantity(
        key=names.DIFFERENCE, kind=kind.ACCURACY, meaning="How much better the other is: more accurate, or of less loss"
    ),
    Quantity(key=names.LOW, kind=kind.ACCURACY, meaning="Lower end of the 95 % interval of `difference`"),
    Quantity(key=names.HIGH, kind=kind.ACCURACY, meaning="Upper end of the same"),
    Quantity(key=names.STANDARD_ERROR, kind=kind.STANDARD_ERROR, meaning="Standard error of `difference`"),
    Quantity(
        key=names.P_VALUE,
        kind=kind.P_VALUE,
        meaning="Chance of a difference as large, in either direction, where there is none",
    ),
    Quantity(
        key=names.P_VALUE_ADJUSTED,
        kind=kind.P_VALUE,
        meaning="The same, corrected for the number of comparisons (Holm)",
    ),
)
"""What compares a trial on the front with the next one, of a higher cost."""
OF_SWEEP: Final = (
    Quantity(key=names.N_TRIALS, kind=kind.COUNT, meaning="Trials"),
    Quantity(key=names.N_FAILED, kind=kind.COUNT, meaning="Trials that failed"),
    Quantity(key=names.N_PRUNED, kind=kind.COUNT, meaning="Trials that a race dropped"),
    Quantity(key=names.FRONT_SIZE, kind=kind.COUNT, meaning="Trials on the front"),
    Quantity(
        key=names.HYPERVOLUME,
        kind=kind.HYPERVOLUME,
        meaning="Area below the front: gain times decades of cost, up to ten times all parameters",
    ),
    Quantity(key=names.HYPERVOLUME_LOW, kind=kind.HYPERVOLUME, meaning="Lower end of its 95 % interval"),
    Quantity(key=names.HYPERVOLUME_HIGH, kind=kind.HYPERVOLUME, meaning="Upper end of the same"),
    Quantity(key=names.SUPPORTED_SIZE, kind=kind.COUNT, meaning="Trials on the supported front"),
    Quantity(
        key=names.BEST_VAL_ACC,
        kind=kind.ACCURACY,
        meaning="Highest measured `val_acc` of a complete trial, whatever chance made of it",
    ),
    Quantity(
        key=names.LOGME_RANK_CORRELATION,
        kind=kind.NUMBER,
        meaning="Spearman's rank correlation of `logme` with `val_acc`",
    ),
    Quantity(key=names.GRAD_SHARE_FROZEN_RANK_CORRELATION, kind=kind.NUMBER, meaning="That of `grad_share_frozen`"),
    Quantity(
        key=names.TRAINABLE_PARAMS_RANK_CORRELATION,
        kind=kind.NUMBER,
        meaning="That of `trainable_params`, for comparison",
    ),
)
"""Quantities of a sweep, metrics of its MLflow run."""
OF_STATUS: Final = (
    Quantity(
        key=names.HIGHEST_MEASURED_VAL_ACC,
        kind=kind.ACCURACY,
        meaning="Highest measured `val_acc` of a complete trial, whatever chance made of it",
    ),
)
"""What `status` and `list` say of a sweep that has digits."""
GROUPS: Final = (
    Group(of="run", shown="mlflow, runs, trials", quantities=names.OBJECTIVES),
    Group(of="run", shown="mlflow, runs, trials (mean)", quantities=names.MEANS),
    Group(of="run", shown="mlflow, runs, trials", quantities=names.SHARED),
    Group(of="run", shown="mlflow", quantities=names.TRACKED),
    Group(of="trial", shown="trials, pareto", quantities=names.BELIEF),
    Group(of="trial", shown="pareto --gain", quantities=(*names.GAINED, *names.GAIN_BELIEF)),
    Group(of="trial", shown="mlflow, trials, pareto", quantities=names.SCORES),
    Group(of="trial", shown="trials, pareto", quantities=names.COUNTED),
    Group(of="trial", shown="pareto", quantities=names.OF_FRONT),
    Group(of="epoch", shown="history", quantities=names.OF_EPOCH),
    Group(of="step", shown="", quantities=names.OF_STEP),
    Group(of="block", shown="blocks", quantities=OF_BLOCK),
    Group(of="block", shown="mlflow", quantities=OF_PRETRAINED_BLOCK),
    Group(of="comparison", shown="compare", quantities=OF_COMPARISON),
    Group(of="sweep", shown="mlflow", quantities=OF_SWEEP),
    Group(of="sweep", shown="status, list", quantities=OF_STATUS),
)
"""All quantities. A key that stands in several groups is written in one way."""
