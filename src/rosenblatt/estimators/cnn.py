"""scikit-learn estimators of convolutional networks, for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.images import as_cell
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbableClassifier, Regressor
from rosenblatt.estimators.media import _OfMedia
from rosenblatt.estimators.parameters import with_hyperparameters
from rosenblatt.spec.fields import OVER_TIME


class _OfImages(_OfMedia):
    _kind = "cnn"

    def _medium(self, X: Any) -> pl.Series:
        """Arrays (n, H, W) or (n, H, W, C), a list of arrays of any size, or of paths."""
        if isinstance(X, np.ndarray) and X.ndim not in (3, 4) and X.dtype.kind not in "OU":
            raise TableError(
                f"X must be images (n, height, width) or (n, height, width, channels), but its shape is {X.shape}. "
                "Reshape it."
            )
        cells = [str(one) if isinstance(one, str | Path) else as_cell(_pixels(one)) for one in X]
        if len({type(cell) for cell in cells}) > 1:
            raise TableError("X holds paths and arrays. Give one kind of them.")
        return pl.Series("image", cells).to_frame("image").to_struct("image")


@with_hyperparameters("cnn", without=OVER_TIME | {"target_transform"})
class CNNClassifier(_OfImages, ProbableClassifier):
    """Convolutional networks for classes of images.

    X is (n, height, width) or (n, height, width, channels), a list of images of any size, or of their paths; or a frame
    as `RNNClassifier` takes it. After `fit`: `model_`, `classes_`, `n_iter_`.
    """


@with_hyperparameters("cnn", without=OVER_TIME | {"class_weight", "class_balance", "label_smoothing"})
class CNNRegressor(_OfImages, Regressor):
    """Convolutional networks for values of images. X is as `CNNClassifier` takes it."""


def _pixels(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "uifb":
        raise TableError(
            f"X must hold images (height, width) or (height, width, channels) of numbers, but one has the shape "
            f"{pixels.shape} and type {pixels.dtype}."
        )
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
