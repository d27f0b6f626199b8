"""Records: what names a result and what does not, and their way through JSON, pickle and worker processes."""

import hashlib
import json
import math
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config.models import DataConfig, ModelConfig, SyntheticConfig, TrainerConfig
from orchestrator.config.schedules import CosineSchedule, StepSchedule
from orchestrator.config.splits import SplitsConfig
from orchestrator.config.transforms import TransformStep
from orchestrator.records.facts import Cost
from orchestrator.records.record import flatten
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import Hyperparameters, RunSpec, run_name
from orchestrator.records.trials import RunRecord, TrialRecord
from tests.factories import (
    make_cost,
    make_experiment,
    make_hyperparameters,
    make_result,
    make_run,
    make_spec,
    make_trial,
)

SPEC = make_spec()


def with_data(**values):
    return SPEC.model_copy(update={"data": SPEC.data.model_copy(update=values)})


def with_model(**values):
    return SPEC.model_copy(update={"model": SPEC.model.model_copy(update=values)})


def with_trainer(**values):
    return SPEC.model_copy(update={"trainer": SPEC.trainer.model_copy(update=values)})


# The fingerprint


@pytest.mark.parametrize(
    "other",
    [
        with_data(image_size=64),
        with_data(mean=(0.0, 0.0, 0.0)),
        with_data(std=(1.0, 1.0, 1.0)),
        with_data(batch_size=17),
        with_model(backbone="resnet34"),
        with_model(num_classes=4),
        with_model(frozen_batchnorm="track"),
        with_trainer(max_epochs=4),
        with_trainer(patience=1),
        with_trainer(lr=2e-4),
        with_trainer(weight_decay=0.1),
        with_trainer(optimizer="sgd"),
        with_trainer(precision="bf16-mixed"),
        with_trainer(accelerator="gpu"),
        with_trainer(deterministic=False),
        with_trainer(matmul_precision="high"),
        with_trainer(convolutions="torch"),
        with_trainer(accumulate=2),
        with_trainer(gradient_clip=1.0),
        with_trainer(schedule=CosineSchedule()),
        with_trainer(schedule=StepSchedule(factor=0.5)),
        with_trainer(optimizer="rmsprop"),
        with_trainer(label_smoothing=0.1),
        with_trainer(class_weights="balanced"),
        with_trainer(lr_decay=0.5),
        with_trainer(ema=0.99),
        with_trainer(monitor="macro_f1"),
        with_data(sampler="balanced"),
        with_data(augment="flip"),
        with_data(augment=(TransformStep("RandomGrayscale"),)),
        with_data(augment_views=2),
        with_data(mixup=0.2),
        with_data(cutmix=1.0),
        make_spec(frozen="none"),
        make_spec(seed=1),
        SPEC.model_copy(update={"data_fingerprint": "e" * 64}),
        SPEC.model_copy(update={"weights_sha256": None}),
        SPEC.model_copy(update={"weights_sha256": "b" * 64}),
        SPEC.model_copy(update={"recipe": SPEC.recipe + 1}),
        with_data(folds=2),
        SPEC.model_copy(update={"fold": 0}),
    ],
)
def test_what_determines_a_result_changes_its_fingerprint(other):
    assert other.fingerprint != SPEC.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        with_data(source="/elsewhere/the same data"),
        with_data(revision="v2"),
        with_data(loader_workers=0),
        with_data(memory_mb=1),
        with_data(on_unread="skip", follow_links=True, class_folder="inner", splits=SplitsConfig(train="a")),
        with_data(synthetic=SyntheticConfig(seed=7)),  # the data fingerprint tells drawn images apart
        with_model(weights="/elsewhere/the same weights.pth"),
        RunSpec.model_validate_json(SPEC.model_dump_json()),
        pickle.loads(pickle.dumps(SPEC)),
    ],
)
def test_where_and_how_it_is_found_does_not_change_a_fingerprint(other):
    assert other.fingerprint == SPEC.fingerprint


def test_every_value_of_a_specification_is_either_identity_or_known_not_to_be():
    free = {"source", "revision", "loader_workers", "memory_mb", "on_corrupt", "synthetic"}
    free |= {"classes", "max_train_images"}  # they are in the fingerprint of the data
    free |= {"splits", "class_folder", "on_unread", "follow_links"}  # the data fingerprint tells what they chose apart
    free |= {"augment", "augment_views", "mixup", "cutmix", "sampler", "folds"}  # by default
    free |= {"value_range"}  # which the driver makes concrete where there are images that it is about
    identity: dict[str, Any] = SPEC.identity
    assert identity.keys() == RunSpec.model_fields.keys() - {"version", "fold"}
    assert identity["data"].keys() == DataConfig.model_fields.keys() - free
    assert identity["model"].keys() == ModelConfig.model_fields.keys() - {"weights", "granularity", "blocks"}
    later = {"matmul_precision", "convolutions", "accumulate", "gradient_clip", "schedule"}  # left out by default
    later |= {"label_smoothing", "class_weights", "lr_decay", "ema", "monitor"}
    assert identity["trainer"].keys() == TrainerConfig.model_fields.keys() - later


def test_a_number_written_otherwise_is_the_same_number():
    one = make_spec(data=DataConfig(source="x", batch_size=8, mean=(0, 0.5, 1)), trainer=TrainerConfig(lr=1))
    other = make_spec(
        data=DataConfig.model_validate({"source": "x", "batch_size": "8", "mean": [0.0, "0.5", 1.0]}),
        trainer=TrainerConfig.model_validate({"lr": "1e0", "weight_decay": 0}),
    )
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("accelerator", "precision", "matmul_precision", "named"),
    [
        ("cpu", "32-true", "highest", False),
        ("cpu", "bf16-mixed", "highest", False),
        ("gpu", "bf16-mixed", "highest", False),
        ("gpu", "16-mixed", "highest", False),
        ("gpu", "bf16-mixed", "medium", True),
        # before this could be chosen convolutions were TF32 there: those results answer no more
        ("gpu", "32-true", "highest", True),
        ("gpu", "32-true", "high", True),
    ],
)
def test_the_precision_of_products_is_named_where_it_makes_a_difference(
    accelerator, precision, matmul_precision, named
):
    spec = with_trainer(accelerator=accelerator, precision=precision, matmul_precision=matmul_precision)
    assert spec.identity["trainer"].get("matmul_precision") == (matmul_precision if named else None)


def test_the_notes_of_a_run_are_those_of_its_epochs_each_once():
    first, second, third = make_result().history
    history = (
        first.model_copy(update={"notes": ("slow", "loud")}),
        second,
        third.model_copy(update={"notes": ("slow",)}),
    )
    assert make_result(history=history).notes == ("slow", "loud")
    assert make_result().notes == ()


def test_a_fingerprint_is_the_hash_of_the_canonical_identity():
    identity = {
        "data": {
            "image_column": None,
            "label_column": None,
            "image_size": 32,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "batch_size": 16,
            "validation_fraction": 0.1,
            "split_seed": 0,
        },
        "model": {"backbone": "resnet18", "num_classes": 3, "frozen_batchnorm": "eval"},
        "trainer": {
            "max_epochs": 3,
            "patience": 10,
            "lr": 1e-4,
            "weight_decay": 0.0,
            "optimizer": "adam",
            "precision": "32-true",
            "accelerator": "cpu",
            "deterministic": True,
            "log_every_n_steps": 10,
        },
        "frozen": "stem",
        "seed": 0,
        "data_fingerprint": "d" * 64,
        "weights_sha256": "a" * 64,
        "recipe": SPEC.recipe,
        "generation": 0,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert SPEC.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16]


# Their way elsewhere and back


@pytest.mark.parametrize(
    "record",
    [
        SPEC,
        make_cost(),
        make_hyperparameters(lr=0.1 + 0.2),
        make_result(val_acc=1 / 3),
        make_run(),
        make_run(error="out of memory"),
        make_trial(seeds=(0, 1)),
        make_trial(error="lost"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_comes_back_from_json_and_pickle_as_it_was(record):
    assert type(record).model_validate_json(record.model_dump_json()) == record
    assert type(record).model_validate(json.loads(json.dumps(record.model_dump(mode="json")))) == record
    assert pickle.loads(pickle.dumps(record)) == record


@pytest.mark.parametrize("kind", [Cost, RunSpec, RunResult, RunRecord, TrialRecord, Hyperparameters])
def test_a_record_is_closed_and_frozen(kind):
    record = {
        Cost: make_cost(),
        RunSpec: SPEC,
        RunResult: make_result(),
        RunRecord: make_run(),
        TrialRecord: make_trial(),
        Hyperparameters: make_hyperparameters(),
    }[kind]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({**record.model_dump(), "more": 1})
    with pytest.raises(ValidationError, match="Instance is frozen"):
        setattr(record, next(iter(kind.model_fields)), None)


def test_hyperparameters_are_those_of_the_configuration():
    experiment = make_experiment(
        data=DataConfig(source="x", batch_size=5), trainer=TrainerConfig(lr=0.5, weight_decay=0.25, optimizer="adamw")
    )
    assert Hyperparameters.of(experiment).model_dump() == {
        "lr": 0.5,
        "weight_decay": 0.25,
        "batch_size": 5,
        "optimizer": "adamw",
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, "greater than 0"),
        ({"lr": True}, "must not be a boolean"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"optimizer": "rms"}, "'adam', 'adamw', 'sgd', 'adadelta'"),
    ],
)
def test_hyperparameters_keep_the_ranges_of_the_configuration(values, message):
    with pytest.raises(ValidationError, match=message):
        make_hyperparameters(**values)


def test_shares_and_gaps_are_worked_out():
    cost = Cost(trainable_params=25, total_params=200, gflops_forward_per_image=1.0, gflops_train_per_image=2.0)
    assert cost.trainable_pct == 12.5  # 100 * 25 / 200
    result = make_result(train_acc=0.75, val_acc=0.5, trainable_params=50, total_params=200)
    assert result.gap_train_val == 0.25
    assert result.trainable_pct == 25.0


@pytest.mark.parametrize(
    ("trial", "frozen", "seed", "name"),
    [
        (7, "stem+layer1", 0, "trial_007_stem+layer1_seed0"),
        (0, "none", 12, "trial_000_none_seed12"),
        (1234, "layer4", 1, "trial_1234_layer4_seed1"),
    ],
)
def test_a_run_has_a_name(trial, frozen, seed, name):
    assert run_name(trial, frozen, seed) == name


def test_a_nested_mapping_is_flattened_and_lists_stay():
    tree = {"a": 1, "b": {"c": [1, {"d": 2}], "e": {"f": None}, "g": {}}}
    assert flatten(tree) == {"a": 1, "b.c": [1, {"d": 2}], "b.e.f": None, "b.g": {}}


def test_a_loss_that_is_no_number_comes_back_as_it_was():
    record = make_result(test_loss=float("nan"), val_loss=float("inf"))
    back = RunResult.model_validate_json(record.model_dump_json())
    assert math.isnan(back.test_loss)
    assert math.isinf(back.val_loss)


def test_the_range_of_values_is_identity_where_it_is_concrete():
    def fingerprint(value_range) -> str:
        return SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"value_range": value_range})}).fingerprint

    assert fingerprint("auto") == fingerprint("full") == fingerprint(None) == SPEC.fingerprint
    assert len({SPEC.fingerprint, fingerprint((0.0, 4080.0)), fingerprint((0.0, 65535.0))}) == 3


# Quantities without a field of their own


def test_what_was_measured_besides_is_kept_and_read_by_its_key():
    result = make_result("stem", 0.8, measured={"val_brier": 0.25, "val_skill": math.nan})
    again = RunResult.model_validate_json(result.model_dump_json())
    assert again.read("val_brier") == 0.25
    assert math.isnan(again.read("val_skill") or 0)
    assert again.read("val_acc") == 0.8
    assert again.read("best_epoch") == 3  # from 1; the field counts from 0
    assert again.read("resident_mb") is None  # not on a CPU
    assert again.read("gap_train_val") == result.train_acc - result.val_acc


def test_an_epoch_is_as_bad_as_what_is_monitored_says():
    epoch = make_result().history[0].model_copy(update={"measured": {"macro_f1": 0.7}})
    assert epoch.badness == pytest.approx(epoch.val_loss)
    assert epoch.model_copy(update={"monitor": "macro_f1"}).badness == pytest.approx(-0.7)
    assert epoch.model_copy(update={"monitor": "val_acc"}).badness == pytest.approx(-epoch.val_acc)
    with pytest.raises(ValueError, match="epoch 1 has no balanced_accuracy"):
        _ = epoch.model_copy(update={"monitor": "balanced_accuracy"}).badness


def test_an_epoch_is_written_as_before_where_nothing_is_measured_and_val_loss_monitored():
    epoch = make_result().history[0]
    assert not {"measured", "monitor"} & epoch.model_dump().keys()
    chosen = epoch.model_copy(update={"monitor": "macro_f1", "measured": {"macro_f1": 0.5}})
    assert type(epoch).model_validate_json(chosen.model_dump_json()) == chosen


def test_a_result_without_further_measurements_is_written_as_before_they_could_be():
    plain = make_result("stem", 0.8)
    assert "measured" not in json.loads(plain.model_dump_json())
    assert "measured" not in json.loads(make_run().model_dump_json())["result"]
    assert list(plain.model_dump()) == [name for name in RunResult.model_fields if name != "measured"]
    assert RunResult.model_validate(plain.model_dump()) == plain
