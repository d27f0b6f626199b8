"""What of a specification identifies its result, so that a field that comes later orphans no finished training."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config.data import IN_DATA_FINGERPRINT, WITHOUT_EFFECT

FIELDS_OF_RECIPE_6 = frozenset(
    {
        "data",
        "data.image_column",
        "data.label_column",
        "data.image_size",
        "data.mean",
        "data.std",
        "data.batch_size",
        "data.validation_fraction",
        "data.split_seed",
        "data.synthetic.classes",
        "data.synthetic.train",
        "data.synthetic.validation",
        "data.synthetic.test",
        "data.synthetic.seed",
        "model",
        "model.backbone",
        "model.num_classes",
        "model.frozen_batchnorm",
        "trainer",
        "trainer.max_epochs",
        "trainer.patience",
        "trainer.lr",
        "trainer.weight_decay",
        "trainer.optimizer",
        "trainer.precision",
        "trainer.accelerator",
        "trainer.deterministic",
        "trainer.log_every_n_steps",
        "frozen",
        "seed",
        "data_fingerprint",
        "weights_sha256",
        "recipe",
        "generation",
    }
)
"""Fields that every identity holds, as dotted keys; those of drawn images, the fingerprint of such data. The table is
closed: a field that comes later joins an identity where it is not at its default, and that default stays what it is as
long as the recipe does."""
LOGGED_STEPS = "trainer.log_every_n_steps"
"""Changes no result, but fingerprints of before hold it: identities have `LOGGED_STEPS_HELD` in its place."""
LOGGED_STEPS_HELD = 10
NO_PART = frozenset(
    {f"data.{name}" for name in IN_DATA_FINGERPRINT | WITHOUT_EFFECT}
    | {"model.weights", "model.granularity", "version"}  # what a granularity leads to stands in `model.blocks`
)
"""Fields that are no part of an identity: they change no result, or a hash that is part of it holds their effect."""


def write_identity(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Write down the fields of `section` that identify a result, as plain values; sections in it are nested.

    Args:
        section: A specification, or a section of one.
        prefix: Where the section stands in its specification, as a dotted key that ends in a dot.
    """
    plain = section.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        key, value = f"{prefix}{name}", getattr(section, name)
        if key in NO_PART or not (key in FIELDS_OF_RECIPE_6 or _is_chosen(field, value)):
            continue
        nested = isinstance(value, BaseModel) and isinstance(plain[name], dict)
        found[name] = write_identity(value, f"{key}.") if nested else plain[name]
    return found


def _is_chosen(field: FieldInfo, value: object) -> bool:
    """Return whether a value is not its field's default; what tells kinds of sections apart always is."""
    kinds = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return field.is_required() or len(kinds) == 1 or value != field.get_default(call_default_factory=True)
