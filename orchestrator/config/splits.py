"""Where the splits of a data set lie, told instead of found by their names."""

from collections.abc import Iterator

from pydantic import Field, field_validator

from orchestrator.config.fields import Section

Places = str | tuple[str, ...]


class SplitsConfig(Section):
    """Which part of a data source is which split.

    A part is a folder or a Parquet file, relative to the source (`.` is the whole folder); in a data set of the hub or
    one written by `save_to_disk` it is the name of a stored split, in a CSV a value of its split column.
    """

    train: Places = Field(min_length=1)
    """Training images."""
    validation: Places = ()
    """Validation images; none: they are split off the training images."""
    test: Places = ()
    """Test images; none: likewise."""

    @field_validator("train", "validation", "test")
    @classmethod
    def _places_are_named(cls, value: Places) -> Places:
        if "" in ((value,) if isinstance(value, str) else value):
            raise ValueError("each part must have a name; `.` is the whole folder")
        return value

    def items(self) -> Iterator[tuple[str, str]]:
        """Go through the parts: name of the split, and the part as it was told."""
        for split, places in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            for place in (places,) if isinstance(places, str) else places:
                yield split, place
