"""What is found out of data and network before anything trains."""

from orchestrator.records.record import Record


class DatasetInfo(Record):
    """What is known of a data set once it is loaded."""

    source: str
    """As configured."""
    fingerprint: str
    """sha256 (hex) over splits, labels and encoded images: equal data have it equal, wherever they lie."""
    class_names: tuple[str, ...]
    """Names of the classes, by label."""
    split_sizes: dict[str, int]
    """Images in `train`, `validation`, `test`."""
    value_range: tuple[float, float] | None = None
    """Values that become black and white in images of more than 8 bits a channel; None: there are none."""
    notes: tuple[str, ...] = ()
    """What the user should hear, such as a validation split that had to be made."""


class Cost(Record):
    """What a frozen set costs; known before anything trains."""

    trainable_params: int
    """Parameters that train."""
    total_params: int
    """Parameters of the network."""
    gflops_forward_per_image: float
    """Forward pass of one image, in 10^9 floating-point operations (a multiply-add counts as two)."""
    gflops_train_per_image: float
    """Forward and backward pass of one training image, likewise."""

    @property
    def trainable_pct(self) -> float:
        """Trainable share of the parameters, in percent."""
        return 100.0 * self.trainable_params / self.total_params
