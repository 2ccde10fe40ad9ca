"""Parameters of the layers of a network, for exporters."""

from __future__ import annotations

import numpy as np

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture

Parameters = dict[str, np.ndarray]  # of a layer, by name


class LayerParameters:
    """The parameters of the layers of a network, handed out in the order of its layers."""

    def __init__(self, architecture: DenseArchitecture | DeepArchitecture, theta: np.ndarray) -> None:
        by_layer: dict[int, Parameters] = {}
        for (layer, name), values in architecture.parameters_by_name(theta).items():
            by_layer.setdefault(layer, {})[name] = values
        self._layers = iter([by_layer[layer] for layer in sorted(by_layer)])

    def __next__(self) -> Parameters:
        """The parameters of the next layer."""
        return next(self._layers)
