"""The plain script: what a good engineer writes to sweep frozen sets with Optuna, Lightning, MLflow and TensorBoard.

Competitor B of the benchmark; with `--full-backward` it is competitor A. It stands alone: nothing of this repository
is imported. One process; frozen blocks have no gradients and their BatchNorm is in eval mode; loader processes decode
and resize the images each epoch; the best checkpoint by `val_loss` is evaluated on validation and test.
"""

import argparse
import os
from pathlib import Path
from time import perf_counter
from typing import Any, Self

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import datasets
import optuna
import pytorch_lightning as pl
import torch
import torchvision
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BLOCKS = {
    "stem": ("conv1", "bn1"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}


class Images(Dataset[tuple[Tensor, int]]):
    """A split: decoded, resized and normalised whenever an image is read."""

    def __init__(self, rows: datasets.Dataset, image_size: int) -> None:
        self._rows = rows
        self._label = next(name for name in ("labels", "label") if name in rows.column_names)
        self._transform = v2.Compose(
            [
                v2.ToImage(),
                v2.Resize((image_size, image_size), antialias=True),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self._rows[index]
        return self._transform(row["image"].convert("RGB")), row[self._label]


class Classifier(pl.LightningModule):
    """A ResNet18 of which some blocks are frozen."""

    def __init__(self, frozen: str, classes: int, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.save_hyperparameters({"frozen": frozen, "lr": arguments.lr, "batch_size": arguments.batch_size})
        self._full_backward = arguments.full_backward
        self.network = torchvision.models.resnet18(weights=None, num_classes=classes)
        if arguments.weights is not None:
            state = torch.load(arguments.weights, map_location="cpu", weights_only=True)
            self.network.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
        blocks = [] if frozen == "none" else frozen.split("+")
        self._frozen = [self.network.get_submodule(name) for block in blocks for name in BLOCKS[block]]
        held = {id(parameter) for module in self._frozen for parameter in module.parameters()}
        self._trainable = [parameter for parameter in self.network.parameters() if id(parameter) not in held]
        if not self._full_backward:
            for module in self._frozen:
                module.requires_grad_(requires_grad=False)
        self.train_acc, self.val_acc, self.test_acc = (MulticlassAccuracy(classes, average="micro") for _ in range(3))

    @property
    def trainable_params(self) -> int:
        """Parameters that the optimizer steps."""
        return sum(parameter.numel() for parameter in self._trainable)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switch the mode; frozen BatchNorm stays in eval."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        logits = self.network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.train_acc(logits, labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add a batch to the metrics."""
        self._evaluate(batch, "val", self.val_acc)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add a batch to the metrics."""
        self._evaluate(batch, "test", self.test_acc)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, accuracy: MulticlassAccuracy) -> None:
        images, labels = batch
        logits = self.network(images)
        accuracy(logits, labels)
        self.log(f"{split}_loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.log(f"{split}_acc", accuracy, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build Adam over what trains."""
        return torch.optim.Adam(self._trainable, lr=self.hparams["lr"])

    def optimizer_zero_grad(self, *_: Any) -> None:
        """Drop all gradients: with full backward the optimizer does not know those of frozen weights."""
        self.zero_grad(set_to_none=True)


def build_loader(rows: datasets.Dataset, arguments: argparse.Namespace, *, shuffle: bool) -> DataLoader[Any]:
    """Build the loader of a split."""
    return DataLoader(
        Images(rows, arguments.image_size),
        batch_size=arguments.batch_size,
        shuffle=shuffle,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        pin_memory=arguments.accelerator == "gpu",
        generator=torch.Generator().manual_seed(arguments.seed),
    )


def train(frozen: str, number: int, data: datasets.DatasetDict, arguments: argparse.Namespace) -> dict[str, float]:
    """Train one frozen set, and give the metrics of its best checkpoint."""
    pl.seed_everything(arguments.seed, verbose=False)
    name = f"trial_{number:03d}_{frozen}"
    label = next(key for key in ("labels", "label") if key in data["train"].column_names)
    module = Classifier(frozen, data["train"].features[label].num_classes, arguments)
    board = TensorBoardLogger(arguments.out / "tensorboard", name=name, version="", default_hp_metric=False)
    tracking = MLFlowLogger("bench", run_name=name, tracking_uri=f"sqlite:///{arguments.out}/mlflow.db")
    best = ModelCheckpoint(arguments.out / "checkpoints" / name, monitor="val_loss", mode="min", save_weights_only=True)
    trainer = pl.Trainer(
        accelerator=arguments.accelerator,
        devices=1,
        precision=arguments.precision,
        max_epochs=arguments.epochs,
        deterministic=True,
        log_every_n_steps=10,
        logger=[board, tracking],
        callbacks=[best, EarlyStopping("val_loss", mode="min", patience=arguments.epochs)],
        default_root_dir=arguments.out,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    validation = build_loader(data["validation"], arguments, shuffle=False)
    trainer.fit(module, build_loader(data["train"], arguments, shuffle=True), validation)
    metrics = dict(trainer.validate(module, validation, ckpt_path="best", verbose=False)[0])
    metrics |= trainer.test(module, build_loader(data["test"], arguments, shuffle=False), "best", verbose=False)[0]
    metrics["trainable_params"] = module.trainable_params
    tracking.log_metrics({"trainable_params": module.trainable_params})
    return metrics


def sweep(arguments: argparse.Namespace) -> None:
    """Train every frozen set once, and print the front."""
    data = datasets.load_dataset(str(arguments.data))
    study = optuna.create_study(
        study_name="bench",
        storage=f"sqlite:///{arguments.out}/optuna.db",
        directions=["maximize", "minimize"],
    )
    for frozen in arguments.frozen:
        study.enqueue_trial({"frozen": frozen})

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        frozen = trial.suggest_categorical("frozen", arguments.frozen)
        began = perf_counter()
        metrics = train(frozen, trial.number, data, arguments)
        trial.set_user_attr("run_s", perf_counter() - began)
        for key, value in metrics.items():
            trial.set_user_attr(key, value)
        return metrics["val_acc"], metrics["trainable_params"]

    study.optimize(objective, n_trials=len(arguments.frozen))
    for trial in study.best_trials:
        print(f"{trial.params['frozen']:40} val_acc {trial.values[0]:.4f}  parameters {trial.values[1]:,.0f}")


def main() -> None:
    """Read the command line and sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frozen", nargs="+", help="frozen sets, such as none stem stem+layer1")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--full-backward", action="store_true", help="compute gradients of frozen weights too")
    sweep(parser.parse_args())


if __name__ == "__main__":
    main()
