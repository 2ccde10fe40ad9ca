"""A fitted model as an ordinary module of PyTorch: typed cells in, predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.models.export.decoding import MAX_EXPONENT, DecodingPlan, make_decoding_plan
from rosenblatt.models.export.feature_plan import make_feature_plan
from rosenblatt.models.export.layer_parameters import LayerParameters
from rosenblatt.models.export.signature import FittedModel, MediumInput, Signature, read_signature
from rosenblatt.models.export.torch_features import (
    Features,
    StandardizedImage,
    StandardizedSequence,
    Tokens,
    register_arrays,
)
from rosenblatt.models.export.torch_layers import (
    PerChannelNetwork,
    RecurrentLayer,
    StepPooling,
    convolutional_layers,
    dense_network,
    embedding,
    sequence_layers,
)
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import GlobalPooling, PerChannelMLP, Recurrent


def to_torch(model: FittedModel) -> TorchModel:
    """The model as a module of PyTorch, in evaluation mode.

        module = to_torch(load_model("people.rosenblatt"))
        probabilities = module(numbers, categories)

    Its layers have names, and their parameters are those of the model, so that training can go on: `module.logits`
    returns what the losses of PyTorch expect.
    """
    return TorchModel(model).eval()


class TorchModel(nn.Module):
    """Networks with their preprocessing: what `Model.predict_raw` computes.

    It takes the tensors of `signature.tensor_names`, in this order or by name, and returns (n, K) float64, or
    (n, T, K) for models that predict each step. Categories are codes: see `inputs.category_codes`.
    """

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        self.signature = read_signature(model)
        self.trials = nn.ModuleList(Trial(trial, self.signature) for trial in model.trials)
        self.weights = [trial.weight for trial in model.trials]

    def forward(self, *tensors: Tensor, **named: Tensor) -> Tensor:
        """Return the weighted mean of the predictions of all trials."""
        inputs = self._by_name(tensors, named)
        total = self.trials[0](inputs) * self.weights[0]
        for trial, weight in zip(self.trials[1:], self.weights[1:], strict=True):
            total = total + weight * trial(inputs)
        return total

    def logits(self, *tensors: Tensor, **named: Tensor) -> list[Tensor]:
        """Return the logits of each network, (n, K) float32, for the losses of PyTorch."""
        inputs = self._by_name(tensors, named)
        return [logits for trial in self._trials for logits in trial.logits(inputs)]

    @property
    def _trials(self) -> list[Trial]:
        return [trial for trial in self.trials if isinstance(trial, Trial)]

    def _by_name(self, tensors: Sequence[Tensor], named: dict[str, Tensor]) -> dict[str, Tensor]:
        names = self.signature.tensor_names
        inputs = dict(zip(names, tensors, strict=False)) | named
        if len(tensors) > len(names) or inputs.keys() != {*names}:
            raise TypeError(f"Expected the tensors {', '.join(names)}, but got {', '.join(inputs) or 'none'}.")
        return inputs


class Trial(nn.Module):
    """Networks with the same features and targets; their predictions are averaged."""

    def __init__(self, trial: TrainedTrial, signature: Signature) -> None:
        super().__init__()
        self.features = Features(make_feature_plan(trial.encoder, signature))
        media = signature.media_of(trial.encoder)
        self.networks = nn.ModuleList(_network(trial, network, media) for network in trial.networks)
        self.decoder = Decoder(make_decoding_plan(trial.target))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the mean prediction of the networks."""
        predictions = [self.decoder(logits) for logits in self.logits(inputs)]
        total = predictions[0]
        for prediction in predictions[1:]:
            total = total + prediction
        return total / len(predictions)

    def logits(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the logits of each network."""
        x = None
        if self.features.n_features:
            x = self.features(inputs.get("numbers"), inputs.get("categories"))
        return [network(x, inputs) if isinstance(network, DeepNetwork) else network(x) for network in self.networks]


class Decoder(nn.Module):
    """Logits to predictions; see `DecodingPlan`."""

    factors: Tensor
    scale: Tensor
    center: Tensor
    log: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, plan: DecodingPlan) -> None:
        super().__init__()
        self.plan = plan
        register_arrays(self, plan)

    def forward(self, logits: Tensor) -> Tensor:
        """Return predictions (n, K) float64."""
        plan = self.plan
        if plan.activation == "softmax":
            logits = logits.softmax(dim=-1)
        elif plan.activation == "sigmoid":
            logits = logits.sigmoid()
        elif plan.activation == "exponential":
            logits = logits.exp()
        out = logits.double()
        if plan.splits_classes:
            out = torch.cat([-out if plan.is_sum else 1 - out, out], dim=-1)
        if plan.factors.size:
            out = out * self.factors
        if plan.is_normalized:
            out = out / out.sum(dim=-1, keepdim=True)
        if plan.is_regression:
            out = out * self.scale + self.center
            if plan.log.any():
                out = torch.where(self.log, torch.expm1(out.clamp(max=MAX_EXPONENT)), out)
            out = torch.minimum(torch.maximum(out, self.low), self.high)
        return out


def _network(trial: TrainedTrial, network: TrainedNetwork, media: tuple[MediumInput, ...]) -> nn.Module:
    dropout = float(trial.resolved_spec["dropout"])
    parameters = LayerParameters(network.architecture, network.theta)
    if isinstance(network.architecture, DeepArchitecture):
        return DeepNetwork(network.architecture, parameters, media, dropout)
    return dense_network(network.architecture, parameters, dropout)


class DeepNetwork(nn.Module):
    """A tower for each image, text or sequence column, whose outputs and the features feed a dense head."""

    def __init__(
        self,
        architecture: DeepArchitecture,
        parameters: LayerParameters,
        media: tuple[MediumInput, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.flip_averaging, self.is_per_step = architecture.flip_averaging, architecture.is_per_step
        self.media_names = [(medium.name, medium.lengths_name) for medium in media]
        self.towers = nn.ModuleList(
            _tower(architecture, layers, parameters, medium, dropout)
            for layers, medium in zip(architecture.towers, media, strict=True)
        )
        self.head = dense_network(architecture.head, parameters, dropout)

    def forward(self, x: Tensor | None, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits (n, K), or (n, T, K); x are the features (n, F)."""
        logits = self._logits(x, inputs, flip=False)
        return (logits + self._logits(x, inputs, flip=True)) / 2 if self.flip_averaging else logits

    def _logits(self, x: Tensor | None, inputs: dict[str, Tensor], *, flip: bool) -> Tensor:
        outputs = list[Tensor]()
        for tower, (name, lengths_name) in zip(self.towers, self.media_names, strict=True):
            if lengths_name:
                outputs.append(tower(inputs[name], inputs[lengths_name]))
            else:
                outputs.append(tower(inputs[name].flip(3) if flip else inputs[name]))
        if x is not None:
            outputs.append(x[:, None].expand(-1, outputs[0].shape[1], -1) if self.is_per_step else x)
        return self.head(torch.cat(outputs, dim=-1))


def _tower(
    architecture: DeepArchitecture, layers: tuple[Any, ...], parameters: LayerParameters, medium: MediumInput,
    dropout: float,
) -> nn.Module:  # fmt: skip
    encoding, activation = medium.encoding, architecture.activation
    if isinstance(layers[0], PerChannelMLP):
        network = PerChannelNetwork(layers[0], parameters, activation, dropout)
        return nn.Sequential(StandardizedImage(encoding), network)
    if any(isinstance(layer, Recurrent) for layer in layers):
        return RecurrentTower(architecture, layers, parameters, medium, dropout)
    pooling = next(layer for layer in layers if isinstance(layer, GlobalPooling))
    if medium.kind == "image":
        tower = nn.Sequential()
        tower.add_module("standardize", StandardizedImage(encoding))
        for name, module in convolutional_layers(layers, parameters, activation, dropout):
            tower.add_module(name, module)
        tower.add_module("pooling", PixelPooling(pooling.kind))
        tower.add_module("dropout", nn.Dropout(dropout))
        return tower
    return ConvolutionalTower(architecture, layers, parameters, medium, dropout)


class PixelPooling(nn.Module):
    """All pixels of an image as one vector: mean, max or flatten."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Tensor) -> Tensor:
        """Return (n, channels), or (n, channels * pixels)."""
        if self.kind == "flatten":
            return a.flatten(1)
        return a.amax(dim=(2, 3)) if self.kind == "max" else a.mean(dim=(2, 3))


class _SequenceTower(nn.Module):
    """Common part of towers over texts and sequences: standardized steps, or embedded tokens."""

    def __init__(self, medium: MediumInput) -> None:
        super().__init__()
        self.prepare = Tokens() if medium.kind == "text" else StandardizedSequence(medium.encoding)


class RecurrentTower(_SequenceTower):
    """Recurrent layers over the steps (n, T, C) or tokens (n, T) of a column."""

    def __init__(
        self, architecture: DeepArchitecture, layers: tuple[Any, ...], parameters: LayerParameters,
        medium: MediumInput, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(medium)
        is_bidirectional = architecture.bidirectional
        self.layers = nn.ModuleDict(
            dict(sequence_layers(layers, parameters, dropout, is_bidirectional=is_bidirectional))
        )

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Return (n, units), or (n, T, units) if each step is predicted."""
        a = self.prepare(steps, lengths)
        for layer in self.layers.values():
            a = layer(a, lengths) if isinstance(layer, RecurrentLayer | StepPooling) else layer(a)
        return a


class ConvolutionalTower(_SequenceTower):
    """Convolutions over the steps or tokens of a column, padded to the maximum length."""

    def __init__(
        self, architecture: DeepArchitecture, layers: tuple[Any, ...], parameters: LayerParameters,
        medium: MediumInput, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(medium)
        self.embedding = None
        if medium.kind == "text":
            self.embedding = embedding(next(parameters)["weight"])
        self.layers = nn.Sequential()
        for name, module in convolutional_layers(layers, parameters, architecture.activation, dropout):
            self.layers.add_module(name, module)
        pooling = next(layer for layer in layers if isinstance(layer, GlobalPooling))
        self.pooling, self.dropout = StepPooling(pooling.kind), nn.Dropout(dropout)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Return (n, channels)."""
        a = self.prepare(steps, lengths)
        if self.embedding is not None:
            a = self.embedding(a)
        columns = self.layers(a.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)  # (n, T, channels)
        n_steps = torch.ceil(lengths / steps.shape[1] * columns.shape[1]).clamp(min=1).long()
        return self.dropout(self.pooling(columns, n_steps))
