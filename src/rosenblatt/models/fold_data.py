"""Rows of a search that are transformed differently for each fold, as by the steps of a scikit-learn Pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.media.columns import EncodedInputs
from rosenblatt.data.sparse import is_sparse, stack_sparse
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.prepared import PreparedData, concatenate_data, encode_frame, encoding_key
from rosenblatt.spec.spec import Spec

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class FoldDatasets(NamedTuple):
    """Training and validation rows of a fold."""

    train: Dataset
    validation: Dataset


class FoldPreparedData(PreparedData):
    """Prepared rows of all folds, one fold after the other: its training rows, then its validation rows.

    Each fold has its own encoder, which is fitted on its training rows. Folds with fewer features than others are
    filled up with features of zeros, so that all networks of a trial have the same size.
    """

    def __init__(self, folds: Sequence[FoldDatasets], make_target: Callable[[Spec], Target]) -> None:
        self._folds = folds
        tables = [concatenate_data(*fold) for fold in folds]
        frame, y, weight = tables[0]
        first_table = Dataset(
            frame, y, None if folds[0].train.weight is None else weight, columns=folds[0].train.columns
        )  # for the number of rows and the types of columns, which decide what "auto" is
        starts = np.cumsum([0, *(len(y) for _, y, _ in tables)])
        splits = [
            Fold(*np.split(np.arange(start, end), [len(fold.train.y)]))
            for fold, start, end in zip(folds, starts, starts[1:], strict=False)
        ]
        super().__init__(first_table, make_target, splits=splits)
        self.y, self.weight = (np.concatenate(parts) for parts in zip(*(table[1:] for table in tables), strict=True))

    def _encoding(self, resolved_spec: Spec) -> tuple[Encoder, np.ndarray | csr_array | EncodedInputs]:
        """Encode all folds.

        The encoder is that of a fold with the most features. If the spans of features differ between folds, it knows
        only the number of features, so that no network is trained with the spans of another fold.
        """
        key = encoding_key(resolved_spec)
        if key not in self._encodings:
            encoders = [
                Encoder.fit(fold.train.frame, resolved_spec.data, columns=fold.train.columns) for fold in self._folds
            ]
            widest = max(encoders, key=lambda encoder: encoder.width)
            blocks = [
                _widen(encode_frame(encoder, part.frame), widest.width)
                for encoder, fold in zip(encoders, self._folds, strict=True)
                for part in fold
            ]
            x = stack_sparse(blocks) if is_sparse(blocks[0]) else np.concatenate(blocks)
            is_regular = all(np.array_equal(encoder.spans, widest.spans) for encoder in encoders)
            encoder = widest if is_regular else Encoder(encodings=(), n_sparse_columns=widest.width)
            self._encodings[key] = encoder, x
        return self._encodings[key]


def _widen(x: np.ndarray | csr_array | EncodedInputs, width: int) -> np.ndarray | csr_array:
    """Append features of zeros to a matrix (n, F)."""
    if is_sparse(x):
        return type(x)((x.data, x.indices, x.indptr), shape=(x.shape[0], width))
    assert isinstance(x, np.ndarray)  # noqa: S101 - dense networks have no media
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))
