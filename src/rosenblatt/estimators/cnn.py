"""scikit-learn estimators of convolutional networks, for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.images import encode_image
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor
from rosenblatt.estimators.media import _MediaMixin
from rosenblatt.estimators.parameters import add_hyperparameters
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS


class _ImageMixin(_MediaMixin):
    _kind = "cnn"

    def _to_media_column(self, X: Any) -> pl.Series:
        """Arrays (n, H, W) or (n, H, W, C), a list of arrays of any size, or of paths."""
        if isinstance(X, np.ndarray) and X.ndim not in (3, 4) and X.dtype.kind not in "OU":
            raise TableError(
                f"X must be images (n, height, width) or (n, height, width, channels), but its shape is {X.shape}. "
                "Reshape it."
            )
        cells = [str(image) if isinstance(image, str | Path) else encode_image(_pixels(image)) for image in X]
        if len({type(cell) for cell in cells}) > 1:
            raise TableError("X holds paths and arrays. Give one kind of them.")
        return pl.Series("image", cells).to_frame("image").to_struct("image")


@add_hyperparameters("cnn", exclude=FORECASTING_HYPERPARAMETERS | {"target_transform"})
class CNNClassifier(_ImageMixin, ProbabilisticClassifier):
    """Convolutional networks for classes of images.

    X is (n, height, width) or (n, height, width, channels), a list of images of any size, or of their paths; or a frame
    as `RNNClassifier` takes it. After `fit`: `model_`, `classes_`, `n_iter_`.
    """


@add_hyperparameters(
    "cnn", exclude=FORECASTING_HYPERPARAMETERS | {"class_weight", "logit_adjustment", "label_smoothing"}
)
class CNNRegressor(_ImageMixin, Regressor):
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
