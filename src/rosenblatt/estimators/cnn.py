"""scikit-learn estimators of convolutional networks, for images."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.utils import Tags

from rosenblatt.data.media.images import encode_image
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor
from rosenblatt.estimators.media import _MediaMixin
from rosenblatt.estimators.parameters import NOT_FOR_CLASSIFIERS, NOT_FOR_REGRESSORS, add_hyperparameters


class _ImageMixin(_MediaMixin):
    _kind = "cnn"

    def _to_media_column(self, X: Any) -> pl.Series:
        """Convert an array (n, H, W) or (n, H, W, C), a list of arrays of any size, or a list of paths."""
        if isinstance(X, np.ndarray) and X.ndim not in (3, 4) and X.dtype.kind not in "OU":
            raise TableError(
                f"X must hold images (n, height, width) or (n, height, width, channels), but its shape is {X.shape}. "
                "Reshape your data."
            )
        cells = [str(image) if isinstance(image, str | Path) else encode_image(_pixels(image)) for image in X]
        if len({type(cell) for cell in cells}) > 1:
            raise TableError("X holds both paths and arrays. Use only one of them.")
        return pl.Series("image", cells).to_frame("image").to_struct("image")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.allow_nan = False
        return tags


@add_hyperparameters("cnn", exclude=NOT_FOR_CLASSIFIERS)
class CNNClassifier(_ImageMixin, ProbabilisticClassifier):
    """Population of convolutional networks that classify images.

    X is an array (n, height, width) or (n, height, width, channels), a list of images of any size, or a list of paths
    of image files. It may also be a frame, see `RNNClassifier`.

    Attributes:
        model_: the fitted `Model`.
        classes_: (classes,) the classes, sorted.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> import numpy as np
        >>> from rosenblatt import CNNClassifier
        >>> images = np.zeros((40, 6, 6), np.uint8)
        >>> images[:20, :3] = 255  # bright above
        >>> images[20:, 3:] = 255  # bright below
        >>> y = ["above"] * 20 + ["below"] * 20
        >>> classifier = CNNClassifier(channels=(4,), epochs=10, members=1, global_pooling="flatten", cutout=0, crop=0)
        >>> classifier.fit(images, y).predict(images[[0, 39]])
        array(['above', 'below'], dtype='<U5')
    """


@add_hyperparameters("cnn", exclude=NOT_FOR_REGRESSORS)
class CNNRegressor(_ImageMixin, Regressor):
    """Population of convolutional networks that predict numbers from images.

    X is as for `CNNClassifier`. Several targets are predicted at once if y is (n, targets).

    Attributes:
        model_: the fitted `Model`.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> import numpy as np
        >>> from rosenblatt import CNNRegressor
        >>> images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), dtype=np.uint8)
        >>> regressor = CNNRegressor(channels=(4,), epochs=1, members=1)
        >>> regressor.fit(images, images.mean(axis=(1, 2))).predict(images[:2]).shape
        (2,)
    """


def _pixels(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.dtype == object:
        with suppress(TypeError, ValueError):
            pixels = pixels.astype(np.float32)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "uifb":
        raise TableError(
            f"X must hold images (height, width) or (height, width, channels) of numbers, but an image has shape "
            f"{pixels.shape} and type {pixels.dtype}."
        )
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
