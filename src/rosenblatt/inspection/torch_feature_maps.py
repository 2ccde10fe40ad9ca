"""Feature maps of the convolutions of a network for one row."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from rosenblatt.data.media.columns import EncodedInputs
from rosenblatt.errors import TableError
from rosenblatt.models.model import Model, to_engine_rows
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import Conv
from rosenblatt.training.torch.batches import DeviceTable
from rosenblatt.training.torch.forward import StackedNetworks
from rosenblatt.training.torch.stack import CPU


class FeatureMaps(NamedTuple):
    """The output of one convolution: its layer, as numbered in `Architecture.parts`, and the maps (channels, H, W)."""

    layer: int
    maps: np.ndarray


class _RecordingNetwork(StackedNetworks):
    """A network that keeps the outputs of its convolutions."""

    def __init__(self, architecture: DeepArchitecture, theta: Tensor) -> None:
        super().__init__(architecture, theta)
        self.feature_maps: list[FeatureMaps] = []

    def _conv(self, layer: Conv, a: Tensor, index: int) -> Tensor:
        out = super()._conv(layer, a, index)
        self.feature_maps.append(FeatureMaps(index, out[0].float().numpy()))
        return out


def feature_maps(model: Model, typed: pl.DataFrame, network: int = 1) -> list[FeatureMaps]:
    """The feature maps of a row's images, before normalization and activation.

    Args:
        model: a model of images.
        typed: one row, as `Schema.read` returns it.
        network: number of the network, from 1.

    Raises:
        TableError: if the network has no convolutions.
    """
    trial, trained = model.trial_for_network(network - 1), model.networks[network - 1]
    if not isinstance(trained.architecture, DeepArchitecture):
        raise TableError(f"Feature maps need a convolutional network, but its kind is {trained.architecture.kind}.")
    inputs = cast("EncodedInputs", trial.encoder.encode(typed))
    table = DeviceTable(cast("Any", to_engine_rows(inputs)), trained.architecture, CPU)
    recorder = _RecordingNetwork(trained.architecture, torch.from_numpy(np.ascontiguousarray(trained.theta))[None])
    with torch.inference_mode():
        recorder(table.batch_without_augmentation([np.arange(1)]))
    if not recorder.feature_maps:
        raise TableError("Feature maps need a convolutional network, but this network has no convolutions.")
    return sorted(recorder.feature_maps, key=lambda maps: maps.layer)
