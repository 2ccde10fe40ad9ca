"""Encode a typed table (numbers as Float64, categories as String) as the float32 matrix a network is trained on.

Medians, quantiles, bins and categories are fitted on the training rows only, and saved with the model as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from rosenblatt.data.encoding.media_encodings import FrozenModel, ImageEncoding, SequenceEncoding, TextEncoding
from rosenblatt.data.media.columns import EncodedInputs, medium_kind, sequences_from_column
from rosenblatt.errors import SpecError
from rosenblatt.spec.data import DataSpec

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CHUNK_ROWS = 8192  # rows encoded at a time, so that the working set fits into the cache
MAX_BLOCK_VALUES = 2**22  # numbers of a sparse matrix that are dense at a time, 32 MiB
MAX_SORTED_VALUES = 2**16  # numbers whose quantiles are computed at a time, so that they fit into the cache
MIN_SPAN_PARTS = 6  # piecewise-linear parts of a number from which networks multiply them by their structure
N_QUANTILES = 1000  # maximum number of quantiles stored for `numeric_encoding quantile`


class NumberEncoding(FrozenModel):
    """Encoding of a column of numbers: a scaled value, piecewise-linear parts, and an indicator of missing values.

    The parts are those of Gorishniy et al. 2022 (equation 1): part t rises from 0 to 1 between edges t and t + 1; the
    first part continues below its lower edge, and the last one above its upper edge.
    """

    kind: Literal["number"] = "number"
    column: str
    center: float = 0.0
    scale: float = 1.0  # divisor; 0 for a constant column, which is encoded as 0
    smooth_clip: bool = False  # whether scaled values are squashed smoothly into (-3, 3)
    quantiles: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    missing_indicator: bool = False
    fill_value: float = 0.0  # stands for missing values

    @classmethod
    def fit(cls, column: str, values: np.ndarray, numeric_encoding: str, bins: int) -> NumberEncoding:
        """Fit to the training values of a column, (n,) float64, NaN if missing."""
        x = values[~np.isnan(values)]
        if x.size == 0:
            return cls(column=column, scale=0.0)
        fill_value = float(np.median(x))
        center, scale, smooth_clip = 0.0, 1.0, False
        quantiles, edges = tuple[float, ...](), tuple[float, ...]()
        if numeric_encoding == "standard":
            center, scale = x.mean(), float(_std(x))
        elif numeric_encoding == "quantile":
            quantiles = tuple(np.quantile(x, np.linspace(0, 1, min(N_QUANTILES, max(x.size, 2)))))
        elif numeric_encoding != "none":
            center, smooth_clip = fill_value, True
            scale = float(_robust_scale(x))
            edges = _bin_edges(x, bins) if numeric_encoding == "piecewise" else ()
        return cls(
            column=column, center=center, scale=scale, smooth_clip=smooth_clip, quantiles=quantiles, edges=edges,
            missing_indicator=x.size < values.size, fill_value=fill_value,
        )  # fmt: skip

    @property
    def factor(self) -> float:
        """The inverse of `scale`, or 0 for a constant column."""
        return 1 / self.scale if self.scale > 0 else 0.0

    @property
    def feature_names(self) -> list[str]:
        """The names of this column's features."""
        parts = [f"{self.column} from {a:.6g} to {b:.6g}" for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return [self.column, *parts, *([f"{self.column} is missing"] if self.missing_indicator else [])]

    @property
    def width(self) -> int:
        """The number of this column's features."""
        return 1 + max(len(self.edges) - 1, 0) + self.missing_indicator

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and the largest training value, if the encoding holds them."""
        values = self.edges or self.quantiles
        return (values[0], values[-1]) if values else None

    def encode(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write the features of `values` (n,) float64 to `out` (n, len(feature_names))."""
        missing = np.isnan(values)
        x = np.where(missing, self.fill_value, values)
        if self.quantiles:
            out[:, 0] = normal_scores(_fractions_below(x, np.asarray(self.quantiles)))
        else:
            z = (x - self.center) * self.factor
            out[:, 0] = z / np.sqrt(1 + (z / 3) ** 2) if self.smooth_clip else z
        if self.edges:
            edges = np.asarray(self.edges)
            part = (x[:, None] - edges[:-1]) / np.diff(edges)
            np.clip(part[:, 1:-1], 0, 1, out=part[:, 1:-1])
            np.clip(part[:, :1], -2, 1, out=part[:, :1])
            np.clip(part[:, -1:], 0, 3, out=part[:, -1:])
            out[:, 1 : edges.size] = part
        if self.missing_indicator:
            out[:, -1] = missing


class CategoryEncoding(FrozenModel):
    """One-hot encoding of a column of categories.

    Rare categories share one feature, with categories that were not seen in training; missing values are a category of
    their own if there were any in training.
    """

    kind: Literal["category"] = "category"
    column: str
    categories: tuple[str, ...]
    missing_indicator: bool = False  # whether missing values have a feature
    has_other: bool = False  # whether rare and unseen categories have a feature

    @classmethod
    def fit(cls, column: str, values: pl.Series, max_categories: int, min_rows: int) -> CategoryEncoding:
        """Fit to the training values of a column of strings, null if missing."""
        counts = values.drop_nulls().alias("category").value_counts(name="rows")
        ranked = counts.sort(["rows", "category"], descending=[True, False])
        frequent = ranked.head(max_categories).filter(pl.col("rows") >= min_rows)["category"].to_list()
        has_other = 0 < len(frequent) < counts.height
        return cls(
            column=column, categories=tuple(sorted(frequent)), missing_indicator=values.has_nulls(), has_other=has_other
        )

    @property
    def feature_names(self) -> list[str]:
        """The names of this column's features."""
        names = [f"{self.column} = {category}" for category in self.categories]
        names += [f"{self.column} is missing"] * self.missing_indicator
        return names + [f"{self.column} is another"] * self.has_other

    @property
    def width(self) -> int:
        """The number of this column's features."""
        return len(self.categories) + self.missing_indicator + self.has_other

    def unseen(self, values: pl.Series) -> pl.Series:
        """The values (n,) that were not seen in training; none if rare and unseen categories share a feature."""
        return values.clear() if self.has_other else values.filter(~values.is_in(list(self.categories)))

    def encode(self, values: pl.Series, out: np.ndarray) -> None:
        """Write the features of `values` (n,) to `out` (n, len(feature_names))."""
        n, n_columns = len(self.categories), self.width  # also the code of values without a feature
        missing_code = n if self.missing_indicator else n_columns
        other_code = n + self.missing_indicator if self.has_other else n_columns
        codes = values.replace_strict(list(self.categories), range(n), default=other_code, return_dtype=pl.Int64)
        code = codes.set(values.is_null(), missing_code).to_numpy()
        out[:] = code[:, None] == np.arange(n_columns)


Encoding = Annotated[
    NumberEncoding | CategoryEncoding | ImageEncoding | TextEncoding | SequenceEncoding, Field(discriminator="kind")
]
MediaEncoding = ImageEncoding | TextEncoding | SequenceEncoding


class Encoder(FrozenModel):
    """The encodings of all input columns, in the order of their features."""

    encodings: tuple[Encoding, ...]
    n_sparse_columns: int = 0  # width of a sparse matrix that is not encoded

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame | np.ndarray | csr_array,
        spec: DataSpec,
        *,
        columns: Sequence[str] = (),
        never_truncate: bool = False,
    ) -> Encoder:
        """Fit to the training rows: Float64 columns are numbers, String columns categories.

        Args:
            frame: a typed table, a matrix of numbers (NaN if missing), or a sparse matrix.
            spec: the encoding hyperparameters, resolved.
            columns: names of the columns of a matrix; x0, x1, ... by default. A sparse matrix without names is not
                encoded; one with names gets the encodings of the dense matrix.
            never_truncate: whether long sequences and texts are kept whole, as tagging requires.

        Raises:
            SpecError: if the encoding would turn a sparse matrix into a dense one.
            TableError: if a sequence holds infinite numbers, or an image cannot be read.
        """
        if isinstance(frame, np.ndarray):
            names = columns or [f"x{i}" for i in range(frame.shape[1])]
            return cls(encodings=tuple(_fit_matrix(frame, names, spec, is_finite=bool(np.isfinite(frame).all()))))
        if not isinstance(frame, pl.DataFrame):
            if columns:
                return cls(encodings=tuple(_fit_sparse(frame, columns, spec)))
            if spec.numeric_encoding not in ("none", "standard"):
                raise SpecError(f"numeric_encoding {spec.numeric_encoding} would make a sparse matrix dense. Use none.")
            return cls(encodings=(), n_sparse_columns=frame.shape[1])
        encodings: list[NumberEncoding | CategoryEncoding | MediaEncoding] = []
        for series in frame:
            name, kind = series.name, medium_kind(series.dtype)
            if kind == "image":
                encodings.append(ImageEncoding.fit(name, series.struct.field("image"), spec))
            elif kind == "text":
                texts = series.struct.field("text").to_list()
                encodings.append(TextEncoding.fit(name, texts, spec, never_truncate=never_truncate))
            elif kind:
                sequences = sequences_from_column(series)
                encodings.append(SequenceEncoding.fit(name, sequences, spec, never_truncate=never_truncate))
            elif series.dtype == pl.Float64:
                encodings.append(NumberEncoding.fit(name, _numbers(series), spec.numeric_encoding, int(spec.bins)))
            else:
                encodings.append(CategoryEncoding.fit(name, series, spec.max_categories, spec.min_category_rows))
        return cls(encodings=tuple(encodings))

    @cached_property
    def width(self) -> int:
        """The number of features."""
        return self.n_sparse_columns or sum(encoding.width for encoding in self.tabular_encodings)

    @property
    def tabular_encodings(self) -> list[NumberEncoding | CategoryEncoding]:
        """The encodings of numbers and categories."""
        return [encoding for encoding in self.encodings if isinstance(encoding, NumberEncoding | CategoryEncoding)]

    @property
    def media_encodings(self) -> list[MediaEncoding]:
        """The encodings of images, texts and sequences."""
        return [encoding for encoding in self.encodings if not isinstance(encoding, NumberEncoding | CategoryEncoding)]

    @property
    def spans(self) -> np.ndarray:
        """Spans of features (S, 3) int64: the first, their number, and whether they are a number and its parts.

        A number with few parts belongs to the span of its neighbors, whose features are in no relation.
        """
        spans, end = list[tuple[int, int, bool]](), 0
        for encoding in self.tabular_encodings:
            n_parts = len(encoding.edges) - 1 if isinstance(encoding, NumberEncoding) else 0
            piecewise = n_parts + 1 if n_parts >= MIN_SPAN_PARTS else 0
            sizes = ((piecewise, True), (encoding.width - piecewise, False))
            for size, is_piecewise in sizes:
                if size and spans and not (is_piecewise or spans[-1][2]):
                    spans[-1] = spans[-1][0], spans[-1][1] + size, False
                elif size:
                    spans.append((end, size, is_piecewise))
                end += size
        return np.array(spans, np.int64).reshape(-1, 3)

    @property
    def feature_names(self) -> list[str]:
        """The name of each feature."""
        if self.n_sparse_columns:
            return [f"x{i}" for i in range(self.n_sparse_columns)]
        return [name for encoding in self.tabular_encodings for name in encoding.feature_names]

    @property
    def source_columns(self) -> list[str]:
        """The table column of each feature."""
        return [encoding.column for encoding in self.tabular_encodings for _ in encoding.feature_names]

    def encode(self, frame: pl.DataFrame) -> np.ndarray | EncodedInputs:
        """Encode a typed table as a matrix (n, F) float32, with media as `EncodedInputs`."""
        x = self.matrix(frame)
        if self.media_encodings:
            return EncodedInputs(x, tuple(encoding.encode(frame[encoding.column]) for encoding in self.media_encodings))
        return x

    def matrix(self, frame: pl.DataFrame) -> np.ndarray:
        """Encode numbers and categories of a typed table as a matrix (n, F) float32."""
        x = np.empty((frame.height, self.width), np.float32)
        for start in range(0, frame.height, CHUNK_ROWS):
            chunk, first_column = frame[start : start + CHUNK_ROWS], 0
            for encoding in self.tabular_encodings:
                out = x[start : start + chunk.height, first_column : first_column + encoding.width]
                series = chunk[encoding.column]
                if isinstance(encoding, NumberEncoding):
                    encoding.encode(_numbers(series), out)
                else:
                    encoding.encode(series, out)
                first_column += encoding.width
        return x


def _fit_sparse(matrix: csr_array, names: Sequence[str], spec: DataSpec) -> Iterator[NumberEncoding]:
    """Fit the encodings of the columns of a sparse matrix (n, F), a dense block of columns at a time.

    A block is at least two columns wide, as NumPy sums a single one in another order.
    """
    by_column, is_finite = matrix.tocsc(), bool(np.isfinite(matrix.data).all())
    n_blocks = max(len(names) // max(MAX_BLOCK_VALUES // matrix.shape[0], 2), 1)
    for columns in np.array_split(np.arange(len(names)), n_blocks):
        block = np.asarray(by_column[:, columns].toarray(order="C"), np.float64)
        yield from _fit_matrix(block, [names[i] for i in columns], spec, is_finite=is_finite)


def _fit_matrix(
    matrix: np.ndarray, names: Sequence[str], spec: DataSpec, *, is_finite: bool
) -> Iterator[NumberEncoding]:
    """Fit the encodings of the columns of a matrix of numbers (n, F)."""
    if spec.numeric_encoding in ("none", "standard", "robust") and is_finite:
        yield from _fit_affine(matrix, names, spec.numeric_encoding)
        return
    for i, name in enumerate(names):
        values = np.ascontiguousarray(matrix[:, i])
        yield NumberEncoding.fit(name, values, spec.numeric_encoding, int(spec.bins))


def _fit_affine(matrix: np.ndarray, names: Sequence[str], numeric_encoding: str) -> Iterator[NumberEncoding]:
    """Fit encodings without bins to all columns of a matrix (n, F) at once, none of which has missing values."""
    center, scale = np.zeros(matrix.shape[1]), np.ones(matrix.shape[1])
    if numeric_encoding == "robust":
        center = fill_value = _in_blocks(lambda columns: np.median(columns, axis=0), matrix)
        scale = _in_blocks(_robust_scale, matrix)
    else:
        fill_value = np.median(matrix[:: len(matrix) // N_QUANTILES + 1], axis=0)  # for missing values in later rows
    if numeric_encoding == "standard":
        center, scale = matrix.mean(axis=0, dtype=np.float64), _std(matrix)
    for i, name in enumerate(names):
        yield NumberEncoding(
            column=name,
            center=center[i],
            scale=scale[i],
            smooth_clip=numeric_encoding == "robust",
            fill_value=fill_value[i],
        )


def _in_blocks(statistic: Callable[[np.ndarray], np.ndarray], matrix: np.ndarray) -> np.ndarray:
    """Compute a statistic of each column of a matrix (n, F), of as many columns at a time as fit into the cache."""
    width = MAX_SORTED_VALUES // max(len(matrix), 1) + 1
    return np.concatenate([statistic(matrix[:, i : i + width]) for i in range(0, max(matrix.shape[1], 1), width)])


def _numbers(series: pl.Series) -> np.ndarray:
    return series.to_numpy()  # NaN if missing


def _std(x: np.ndarray) -> np.ndarray:
    """Standard deviations of columns, exactly 0 for constant columns despite rounding."""
    return np.where(x.max(axis=0) > x.min(axis=0), x.std(axis=0, dtype=np.float64), 0.0)


def _robust_scale(x: np.ndarray) -> np.ndarray:
    """Interquartile ranges of columns, or half of their ranges if those are 0."""
    upper, lower = np.quantile(x, [0.75, 0.25], axis=0)
    return np.where(upper > lower, upper - lower, (x.max(axis=0) - x.min(axis=0)) / 2)


def _bin_edges(x: np.ndarray, bins: int) -> tuple[float, ...]:
    """At most bins + 1 edges: quantiles in which a value shared by n rows counts as sqrt(n).

    With plain quantiles, a column that is mostly 0 would have almost all its edges at 0.
    """
    values, counts = np.unique(x, return_counts=True)
    if values.size <= bins + 1:
        edges = values
    else:
        mass = np.cumsum(np.sqrt(counts))
        levels = np.linspace(mass[0], mass[-1], bins + 1)
        edges = np.unique(values[np.searchsorted(mass, levels)])
    return tuple(edges.tolist()) if edges.size > 2 else ()


def _fractions_below(x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The fraction of the training values below each x, from their quantiles; ties are averaged."""
    levels = np.linspace(0, 1, quantiles.size)
    below = np.interp(x, quantiles, levels)
    above = 1 - np.interp(-x, -quantiles[::-1], levels)
    return np.asarray((below + above) / 2)


def normal_scores(fractions: np.ndarray) -> np.ndarray:
    """The values of a standard normal distribution above these fractions of it."""
    from scipy.special import ndtri  # takes 0.3 s to import

    return np.asarray(ndtri(np.clip(fractions, 1e-3, 1 - 1e-3)))
