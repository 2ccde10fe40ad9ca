"""Inputs and outputs of an exported model: which tensors it takes and gives, and which steps stay outside of it.

An exported model takes typed cells: numbers, categories, pixels of resized images, token ids and steps. Reading files
and text into these stays outside. All formats have the same inputs, in this order:

- `numbers` (n, N) float64, NaN if missing: all columns of numbers, and the features of dates;
- `categories` (n, C) strings, empty if missing; int64 codes in frameworks without strings (`CategoryInput.codes`);
- for each image column `image` (n, channels, side, side) float32, or (n, side, side, channels) in formats of Keras and
  TensorFlow; for each text column `tokens` (n, T) int64; for each sequence column `sequence` (n, T, channels) float32,
  NaN if missing; the last two are padded at the end, and followed by their `lengths` (n,) int64.

The output is (n, K): what `Model.predict_raw` returns; (n, T, K) for models that predict each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import CategoryEncoding, Encoder, MediaEncoding, NumberEncoding
from rosenblatt.data.encoding.media_encodings import ImageEncoding, SequenceEncoding, TextEncoding
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_list, join_names
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.trained import TrainedTrial

MEDIA_TENSORS = {"image": "image", "text": "tokens", "sequence": "sequence"}


class FittedModel(Protocol):
    """What exporters use of a `Model`."""

    @property
    def schema(self) -> Schema:
        """How columns are read."""

    @property
    def trials(self) -> tuple[TrainedTrial, ...]:
        """Encoders and networks."""

    @property
    def metadata(self) -> ModelMetadata:
        """Origin of the model."""

    @property
    def target(self) -> Target:
        """What is predicted."""

    def predict_typed(self, typed: Any, threads: int | None = None) -> np.ndarray:
        """Predict rows, as `Schema.read` returns them."""


class CategoryInput(NamedTuple):
    """A column of categories, with those that any trial knows."""

    column: str
    categories: tuple[str, ...]  # sorted

    def codes(self, cells: Sequence[str | None]) -> np.ndarray:
        """The codes (n,) int64 of cells: positions in `categories`; then one for missing cells, and one for others."""
        positions = {category: code for code, category in enumerate(self.categories)}
        n = len(positions)
        return np.array([n if not cell else positions.get(cell, n + 1) for cell in cells], np.int64)

    def features(self, encoding: CategoryEncoding) -> np.ndarray:
        """The features of each code, (len(categories) + 2, width) float32."""
        cells = pl.Series([*self.categories, None, "\0"], dtype=pl.String)  # no cell holds a null character
        out = np.empty((len(cells), encoding.width), np.float32)
        encoding.encode(cells, out)
        return out


@dataclass(frozen=True)
class MediumInput:
    """An image, text or sequence column, as one tensor."""

    name: str  # of the tensor; that of the lengths is `lengths_name`
    encoding: MediaEncoding
    is_fixed_length: bool  # whether rows are padded to `max_length`, because convolutions read the padding

    @property
    def kind(self) -> Literal["image", "text", "sequence"]:
        """Kind of the column."""
        return self.encoding.kind

    @property
    def lengths_name(self) -> str:
        """Name of the tensor of the numbers of steps; empty for images."""
        return "" if self.kind == "image" else self.name.replace(MEDIA_TENSORS[self.kind], "lengths")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of an exported model.

    Attributes:
        numbers: names of the columns of the tensor `numbers`; empty if there is no such tensor.
        categories: columns of the tensor `categories`.
        media: image, text and sequence columns.
        outputs: names of the K outputs: classes, labels or values.
        output_kind: what the outputs are.
        is_per_step: whether there is an output for each step.
        boundaries: sentences on the steps that stay outside of the exported model.
    """

    numbers: tuple[str, ...]
    categories: tuple[CategoryInput, ...]
    media: tuple[MediumInput, ...]
    outputs: tuple[str, ...]
    output_kind: Literal["probabilities", "sums", "values"]
    is_per_step: bool
    boundaries: tuple[str, ...]

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Names of all input tensors, in order."""
        names = ["numbers"] * bool(self.numbers) + ["categories"] * bool(self.categories)
        for medium in self.media:
            names += [medium.name] + [medium.lengths_name] * (medium.kind != "image")
        return tuple(names)

    def media_of(self, encoder: Encoder) -> tuple[MediumInput, ...]:
        """The inputs of the media of an encoder, in the order of its towers."""
        return tuple(self._medium(encoding) for encoding in encoder.media_encodings)

    def _medium(self, encoding: MediaEncoding) -> MediumInput:
        return next(medium for medium in self.media if _preparation(medium.encoding) == _preparation(encoding))

    def to_json(self) -> dict[str, Any]:
        """A description that formats can carry, as JSON-serializable data."""
        media = [_describe_medium(medium) for medium in self.media]
        return {
            "numbers": list(self.numbers),
            "categories": [{"column": c.column, "categories": list(c.categories)} for c in self.categories],
            "media": media,
            "outputs": list(self.outputs),
            "output_kind": self.output_kind,
            "is_per_step": self.is_per_step,
            "boundaries": list(self.boundaries),
        }


def read_signature(model: FittedModel) -> Signature:
    """The inputs and outputs of a model."""
    encoder, target = model.trials[0].encoder, model.target
    numbers = [e.column for e in encoder.encodings if isinstance(e, NumberEncoding)]
    if encoder.n_sparse_columns:
        numbers = encoder.feature_names
    is_regression = target.task == "regression"
    return Signature(
        numbers=tuple(numbers),
        categories=_category_inputs(model.trials),
        media=(media := _medium_inputs(model.trials)),
        outputs=tuple(map(str, target.labels or target.names)),
        output_kind="values" if is_regression else target.output_type,
        is_per_step=target.is_per_step,
        boundaries=tuple(_boundaries(model, media)),
    )


def _category_inputs(trials: Sequence[TrainedTrial]) -> tuple[CategoryInput, ...]:
    """The columns of categories; trials may know different ones, as rare categories are a hyperparameter."""
    categories: dict[str, set[str]] = {}
    for trial in trials:
        for encoding in trial.encoder.encodings:
            if isinstance(encoding, CategoryEncoding):
                categories.setdefault(encoding.column, set()).update(encoding.categories)
    return tuple(CategoryInput(column, tuple(sorted(values))) for column, values in categories.items())


def _medium_inputs(trials: Sequence[TrainedTrial]) -> tuple[MediumInput, ...]:
    """A tensor for each way in which trials prepare an image, text or sequence column."""
    encodings: dict[tuple[object, ...], MediaEncoding] = {}
    fixed = set[tuple[object, ...]]()
    for trial in trials:
        for encoding in trial.encoder.media_encodings:
            key = _preparation(encoding)
            encodings.setdefault(key, encoding)
            if any(network.architecture.kind == "cnn" for network in trial.networks):
                fixed.add(key)
    media, counts = list[MediumInput](), dict[str, int]()
    for key, encoding in encodings.items():
        base = MEDIA_TENSORS[encoding.kind]
        counts[base] = counts.get(base, 0) + 1
        name = base if counts[base] == 1 else f"{base}_{counts[base]}"
        media.append(MediumInput(name, encoding, is_fixed_length=encoding.kind != "image" and key in fixed))
    return tuple(media)


def _preparation(encoding: MediaEncoding) -> tuple[object, ...]:
    """What is done to the cells of a column outside of the exported model."""
    if isinstance(encoding, ImageEncoding):
        return encoding.column, encoding.side, encoding.channels, encoding.resize_mode, encoding.dtype
    if isinstance(encoding, TextEncoding):
        return encoding.column, encoding.vocabulary, encoding.max_length, encoding.never_truncate
    return encoding.column, encoding.max_length, encoding.never_truncate


def _cell_boundaries(columns: Sequence[Column]) -> Iterator[str]:
    """Sentences on how cells of a table become numbers and categories."""
    dates = [column for column in columns if column.kind == "date"]
    if dates:
        features = [f"{column.name} ({part})" for column in dates for part in column.date_parts]
        yield (
            f"Dates are read outside: `numbers` takes {format_list(features)} (day: days since 1970; month: 1 to 12; "
            "weekday: 1, Monday, to 7; hour: 0 to 24)."
        )
    zones = [f"{c.name} ({c.date_format.zone.upper() or 'UTC'})" for c in dates if c.date_format.has_zone]
    if zones:
        yield f"Times are converted to the time zone of training outside: {join_names(zones)}."
    units = [f"{c.name} ({c.number_format.unit})" for c in columns if c.kind == "number" and c.number_format.unit]
    if units:
        yield f"Units are removed outside, and percentages divided by 100: {join_names(units)}."
    booleans = [f"{c.name} ({' and '.join(c.boolean_pair)} in training)" for c in columns if c.kind == "boolean"]
    if booleans:
        yield f"Booleans are given as 'false' and 'true': {join_names(booleans)}."
    if any(c.kind in ("category", "boolean") and c.missing_rule.with_markers for c in columns):
        yield "Categories are given without surrounding spaces, and words for a missing value as the empty string."
    missing = [f"{c.name} ({', '.join(c.missing_rule.words)})" for c in columns if c.missing_rule.words]
    if missing:
        yield f"Cells that mean a missing value are replaced outside: {join_names(missing)}."


def _boundaries(model: FittedModel, media: Sequence[MediumInput]) -> list[str]:
    sentences = list(_cell_boundaries(model.schema.input_columns))
    for medium in media:
        encoding = medium.encoding
        if isinstance(encoding, ImageEncoding):
            sentences.append(
                f"Files of {encoding.column!r} are decoded and resized ({encoding.resize_mode}) outside, to "
                f"{encoding.side} x {encoding.side} pixels and {encoding.channels} channels."
            )
        elif isinstance(encoding, TextEncoding):
            sentences.append(
                f"Texts of {encoding.column!r} are split into {encoding.vocabulary.unit} outside; token ids are "
                "positions in the vocabulary, from 1, and 0 for other tokens."
            )
    if model.metadata.windows is not None:
        sentences.append(
            "Windows are formed outside; forecasts are in units of the scale of a window, from its last value."
        )
    if model.target.task == "language":
        sentences.append("Tokens are drawn outside from the probabilities that the model gives for the next one.")
    return sentences


def _describe_medium(medium: MediumInput) -> dict[str, Any]:
    encoding = medium.encoding
    description: dict[str, Any] = {"name": medium.name, "kind": medium.kind, "column": encoding.column}
    if isinstance(encoding, ImageEncoding):
        return description | {"side": encoding.side, "channels": encoding.channels, "resize": encoding.resize_mode}
    description |= {
        "lengths": medium.lengths_name,
        "max_length": encoding.max_length,
        "is_fixed_length": medium.is_fixed_length,
    }
    if isinstance(encoding, SequenceEncoding):
        return description | {"channels": len(encoding.center), "truncation": "the last steps stay"}
    vocabulary = encoding.vocabulary
    description |= {
        "unit": vocabulary.unit,
        "vocabulary": list(vocabulary.tokens),
        "truncation": "the first tokens stay",
    }
    return description | ({"tokenizer": vocabulary.tokenizer_json} if vocabulary.tokenizer_json else {})
