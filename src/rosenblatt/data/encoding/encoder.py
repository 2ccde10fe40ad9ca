"""In: a typed table (numbers as Float64, categories as String). Out: the float32 matrix a network learns from.

What is learnt here (medians, quantiles, bins, categories) is learnt from the rows given to `Encoder.learn`, which are
training rows only, and is plain data, saved with the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array
from scipy.special import ndtri

from rosenblatt.data.encoding.media_encodings import ImageEncoding, SequenceEncoding, TextEncoding
from rosenblatt.data.media.columns import Inputs, medium_of, steps_of
from rosenblatt.errors import SpecError
from rosenblatt.spec.data import DataSpec

CHUNK = 8192  # rows encoded at a time: a chunk's working set stays in the cache
QUANTILES = 1000


class _Learnt(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberEncoding(_Learnt):
    """How one column of numbers enters the network: scaled, in piecewise-linear parts, with a flag where missing.

    The parts are the piecewise-linear encoding of Gorishniy et al. 2022 (equation 1): part t rises from 0 to 1 between
    edges t and t+1; the first part goes on below its edge and the last above.
    """

    kind: Literal["number"] = "number"
    column: str
    center: float = 0.0
    scale: float = 1.0
    smooth: bool = False
    quantiles: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    flag: bool = False
    fill: float = 0.0

    @classmethod
    def learn(cls, column: str, values: np.ndarray, numbers: str, bins: int) -> NumberEncoding:
        """From the training rows of a column, (n,) float64 with NaN for missing."""
        x = values[~np.isnan(values)]
        flag = 0 < x.size < values.size
        if x.size == 0:
            return cls(column=column, scale=0.0)
        fill = float(np.median(x))
        if numbers == "none":
            return cls(column=column, flag=flag, fill=fill)
        if numbers == "standard":
            return cls(column=column, center=x.mean(), scale=_inverse(float(_spread(x))), flag=flag, fill=fill)
        if numbers == "quantile":
            levels = np.linspace(0, 1, min(QUANTILES, max(x.size, 2)))
            return cls(column=column, quantiles=tuple(np.quantile(x, levels)), flag=flag, fill=fill)
        spread = np.subtract(*np.quantile(x, [0.75, 0.25])) or (x.max() - x.min()) / 2
        edges = _edges(x, bins) if numbers == "piecewise" else ()
        return cls(column=column, center=fill, scale=_inverse(spread), smooth=True, edges=edges, flag=flag, fill=fill)

    @property
    def names(self) -> list[str]:
        """What each column of the matrix means."""
        parts = [f"{self.column} from {a:.6g} to {b:.6g}" for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return [self.column, *parts, *([f"{self.column} is missing"] if self.flag else [])]

    def encode(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write the columns for `values` (n,) float64 to `out` (n, len(names))."""
        missing = np.isnan(values)
        x = np.where(missing, self.fill, values)
        if self.quantiles:
            out[:, 0] = _normal_scores(x, np.asarray(self.quantiles))
        else:
            z = (x - self.center) * self.scale
            out[:, 0] = z / np.sqrt(1 + (z / 3) ** 2) if self.smooth else z
        if self.edges:
            edges = np.asarray(self.edges)
            part = (x[:, None] - edges[:-1]) / np.diff(edges)
            np.clip(part[:, 1:-1], 0, 1, out=part[:, 1:-1])
            np.clip(part[:, :1], -2, 1, out=part[:, :1])
            np.clip(part[:, -1:], 0, 3, out=part[:, -1:])
            out[:, 1 : edges.size] = part
        if self.flag:
            out[:, -1] = missing


class CategoryEncoding(_Learnt):
    """How one column of categories enters the network: a 0/1 column a category.

    Categories beyond the most frequent ones share one column, as do those met only after training; missing cells are a
    category of their own, if there were some in training.
    """

    kind: Literal["category"] = "category"
    column: str
    categories: tuple[str, ...]
    flag: bool = False  # whether there is a column for missing cells
    others: bool = False  # whether there is a column for other categories

    @classmethod
    def learn(cls, column: str, values: pl.Series, most: int, min_rows: int) -> CategoryEncoding:
        """From the training rows of a column of strings, null for missing."""
        counts = values.drop_nulls().alias("category").value_counts(name="rows")
        ranked = counts.sort(["rows", "category"], descending=[True, False])
        frequent = ranked.head(most).filter(pl.col("rows") >= min_rows)["category"].to_list()
        others = 0 < len(frequent) < counts.height
        return cls(column=column, categories=tuple(sorted(frequent)), flag=values.has_nulls(), others=others)

    @property
    def names(self) -> list[str]:
        """What each column of the matrix means."""
        names = [f"{self.column} = {category}" for category in self.categories]
        return names + [f"{self.column} is missing"] * self.flag + [f"{self.column} is another"] * self.others

    def encode(self, values: pl.Series, out: np.ndarray) -> None:
        """Write the columns for `values` (n,) to `out` (n, len(names))."""
        n = len(self.categories)
        nowhere = n + self.flag + self.others
        missing, other = n if self.flag else nowhere, n + self.flag if self.others else nowhere
        codes = values.replace_strict(list(self.categories), range(n), default=other, return_dtype=pl.Int64)
        code = codes.set(values.is_null(), missing).to_numpy()
        out[:] = code[:, None] == np.arange(nowhere)


Encoding = Annotated[
    NumberEncoding | CategoryEncoding | ImageEncoding | TextEncoding | SequenceEncoding, Field(discriminator="kind")
]
Perceived = ImageEncoding | TextEncoding | SequenceEncoding


class Encoder(_Learnt):
    """All columns' encodings, in the order in which they stand in the matrix."""

    encodings: tuple[Encoding, ...]
    sparse: int = 0  # columns of a sparse matrix that are learnt from as they are, where it was no table

    @classmethod
    def learn(cls, frame: pl.DataFrame | np.ndarray | csr_array, spec: DataSpec, *, whole: bool = False) -> Encoder:
        """From the training rows: Float64 columns are numbers, String columns categories; sparse ones stay as they are.
        Sequences and texts are never cut where they are to stay `whole`, as those whose steps have tags.

        Raises SpecError where an encoding is asked for that would fill in a sparse matrix.
        """
        if isinstance(frame, np.ndarray):
            return cls(encodings=tuple(_of_array(frame, spec.numbers)))
        if not isinstance(frame, pl.DataFrame):
            if spec.numbers not in ("none", "standard"):
                raise SpecError(f"numbers {spec.numbers} would fill in a sparse matrix. Use none.")
            return cls(encodings=(), sparse=frame.shape[1])
        encodings: list[NumberEncoding | CategoryEncoding | Perceived] = []
        for series in frame:
            medium = medium_of(series.dtype)
            if medium == "image":
                encodings.append(ImageEncoding.learn(series.name, series.struct.field("image"), spec))
            elif medium == "text":
                encodings.append(
                    TextEncoding.learn(series.name, series.struct.field("text").to_list(), spec, whole=whole)
                )
            elif medium:
                encodings.append(SequenceEncoding.learn(series.name, steps_of(series), spec, whole=whole))
            elif series.dtype == pl.Float64:
                encodings.append(NumberEncoding.learn(series.name, _numbers(series), spec.numbers, int(spec.bins)))
            else:
                encodings.append(
                    CategoryEncoding.learn(series.name, series, spec.max_categories, spec.min_category_rows)
                )
        return cls(encodings=tuple(encodings))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return self.sparse or sum(len(encoding.names) for encoding in self.plain)

    @property
    def plain(self) -> list[NumberEncoding | CategoryEncoding]:
        """Those that are columns of the matrix."""
        return [one for one in self.encodings if isinstance(one, NumberEncoding | CategoryEncoding)]

    @property
    def perceived(self) -> list[Perceived]:
        """Those of images, texts and sequences."""
        return [one for one in self.encodings if not isinstance(one, NumberEncoding | CategoryEncoding)]

    @property
    def names(self) -> list[str]:
        """What each column of the matrix means."""
        if self.sparse:
            return [f"x{i}" for i in range(self.sparse)]
        return [name for encoding in self.plain for name in encoding.names]

    @property
    def source_columns(self) -> list[str]:
        """For each column of the matrix, the column of the table it comes from."""
        return [encoding.column for encoding in self.plain for _ in encoding.names]

    @property
    def is_plain(self) -> bool:
        """Whether every column is a number that is but moved and scaled, so that a whole array is encoded at once."""
        return all(
            isinstance(encoding, NumberEncoding)
            and not (encoding.smooth or encoding.quantiles or encoding.edges or encoding.flag)
            for encoding in self.encodings
        )

    def encode(self, frame: pl.DataFrame | np.ndarray) -> np.ndarray | Inputs:
        """The (n, F) float32 matrix of a table with the columns that were learnt; also of an array, if `is_plain`.

        Where there are images, texts or sequences, these stand beside it."""
        x = self.matrix(frame)
        if self.perceived and isinstance(frame, pl.DataFrame):
            return Inputs(x, tuple(encoding.encode(frame[encoding.column]) for encoding in self.perceived))
        return x

    def matrix(self, frame: pl.DataFrame | np.ndarray) -> np.ndarray:
        """The (n, F) float32 matrix of what are numbers and categories."""
        if isinstance(frame, np.ndarray):
            center, scale = (np.array([getattr(e, name) for e in self.encodings]) for name in ("center", "scale"))
            x = np.empty(frame.shape, np.float32)
            for start in range(0, len(frame), CHUNK):
                x[start : start + CHUNK] = (frame[start : start + CHUNK] - center) * scale
            return x
        x = np.empty((frame.height, len(self.names)), np.float32)
        for start, chunk in self._chunks(frame):
            at = 0
            for encoding in self.plain:
                out = x[start : start + chunk.height, at : at + len(encoding.names)]
                series = chunk[encoding.column]
                if isinstance(encoding, NumberEncoding):
                    encoding.encode(_numbers(series), out)
                else:
                    encoding.encode(series, out)
                at += len(encoding.names)
        return x

    def news(self, frame: pl.DataFrame) -> list[str]:
        """What in a table is new: categories that training did not have (where it had no rare ones)."""
        notes = []
        for encoding in self.encodings:
            if isinstance(encoding, CategoryEncoding) and not encoding.others:
                values = frame[encoding.column].drop_nulls()
                new = values.filter(~values.is_in(list(encoding.categories)))
                if len(new):
                    notes.append(f"{encoding.column}: {new[0]!r} was not met in training ({len(new)} rows)")
        return notes

    @staticmethod
    def _chunks(frame: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        for start in range(0, frame.height, CHUNK):
            yield start, frame[start : start + CHUNK]


def _of_array(x: np.ndarray, numbers: str) -> Iterator[NumberEncoding]:
    """Plain encodings (standard or none) of the columns of x (n, F), in which nothing is missing."""
    if numbers == "standard":
        center, scale = x.mean(axis=0, dtype=np.float64), [_inverse(spread) for spread in _spread(x)]
    else:
        center, scale = np.zeros(x.shape[1]), [1.0] * x.shape[1]
    fill = np.median(x[:: len(x) // QUANTILES + 1], axis=0)  # for what may be missing later
    for i in range(x.shape[1]):
        yield NumberEncoding(column=f"x{i}", center=center[i], scale=scale[i], fill=fill[i])


def _numbers(series: pl.Series) -> np.ndarray:
    return series.fill_null(float("nan")).to_numpy()


def _spread(x: np.ndarray) -> np.ndarray:
    """Standard deviations of columns; exactly 0 where all values are one, whatever rounding says."""
    return np.where(x.max(axis=0) > x.min(axis=0), x.std(axis=0, dtype=np.float64), 0.0)


def _inverse(spread: float) -> float:
    return float(1 / spread) if spread > 0 else 0.0


def _edges(x: np.ndarray, bins: int) -> tuple[float, ...]:
    """At most bins + 1 edges between which the values lie about equally dense.

    Quantiles in which a value that n rows share counts as sqrt(n): else a column that is mostly 0 has all its edges
    there and none where it differs.
    """
    values, counts = np.unique(x, return_counts=True)
    if values.size <= bins + 1:
        edges = values
    else:
        mass = np.cumsum(np.sqrt(counts))
        levels = np.linspace(mass[0], mass[-1], bins + 1)
        edges = np.unique(values[np.searchsorted(mass, levels)])
    return tuple(edges.tolist()) if edges.size > 2 else ()


def _normal_scores(x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Where `x` lies in the training values, as a quantile of the normal distribution; ties get their middle."""
    levels = np.linspace(0, 1, quantiles.size)
    below = np.interp(x, quantiles, levels)
    above = 1 - np.interp(-x, -quantiles[::-1], levels)
    return ndtri(np.clip((below + above) / 2, 1e-3, 1 - 1e-3))
