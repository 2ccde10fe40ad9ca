"""Answers of the page Network."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rosenblatt.dashboard.binary import ArraysHeader


class LayerInfo(BaseModel):
    """A layer with parameters."""

    layer: int = Field(description="Its number, from 1.")
    parts: dict[str, list[int]] = Field(description="The shapes of its parameters by name.")
    histogram: list[int] = Field(description="Numbers of weights in equal bins.")
    edges: list[float] = Field(description="The edges of the bins.")


class ColumnInfo(BaseModel):
    """A column of a row."""

    name: str
    kind: str
    typical: str = Field(description="The median of the training rows, or a frequent category.")
    categories: list[str]


class NetworkInfo(BaseModel):
    """One network of a model. `drawn`, `names` and `connections` are empty unless it consists of weighted sums."""

    network: int
    networks: int
    kind: str
    summary: str
    sizes: list[int]
    task: str
    target: list[str]
    layers: list[LayerInfo]
    drawn: list[list[int]] = Field(description="For inputs and layers, the units with the largest weights.")
    names: list[list[str]] = Field(description="Their names.")
    connections: list[list[list[float]]] = Field(description="Weights between the drawn units, [layer][from][to].")
    columns: list[ColumnInfo]
    has_boundary: bool
    best_epoch: int
    n_epochs: int
    weight: float = Field(description="Of its trial in the ensemble.")


class TraceAnswer(BaseModel):
    """A row on its way through a network."""

    values: list[list[float]] = Field(description="The drawn inputs, and outputs of the drawn units of each layer.")
    predicted: dict[str, float] = Field(description="Prediction of this network.")
    model: dict[str, float] = Field(description="Prediction of the model.")
    messages: list[str]


class Contribution(BaseModel):
    """One input of a neuron."""

    input: str
    value: float
    weight: float
    product: float


class UnitAnswer(BaseModel):
    """One neuron for a row."""

    name: str
    contributions: list[Contribution] = Field(description="Those with the largest absolute products.")
    others: int
    others_sum: float
    bias: float
    sum: float
    normalized: float = Field(description="The sum after normalization, if there is one.")
    output: float
    activation: str
    is_residual: bool = Field(description="Whether the input of the layer is added to its output.")
    curve_z: list[float]
    curve_output: list[float] = Field(description="Empty if the activation depends on other units too.")


class MapHeader(ArraysHeader):
    """The array `map` of weights (inputs, units), or of filters (units, inputs, height, width)."""

    shape: list[int] = Field(description="The shape of all weights of the layer.")


class BoundaryHeader(ArraysHeader):
    """The array `surface` of predictions over the plane of two columns."""

    names: list[str]
    low: list[float]
    high: list[float]
    shown: str = Field(description="What the values are.")
    classes: list[str]
    middle: float | None = Field(description="The value between two classes; null for others.")


class FeatureMapsHeader(ArraysHeader):
    """The arrays `layer1`, ... of feature maps (channels, height, width)."""

    channels: dict[str, int] = Field(description="The number of all channels; at most 32 are sent.")
