"""The networks of recorded runs: models, loaded from the files of runs, and what the page Network shows of them.

Models are loaded at the first request for them; the last ones stay in memory.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pydantic import Field
from starlette.routing import Route

from rosenblatt.dashboard.binary import pack_arrays
from rosenblatt.dashboard.endpoints import ApiRequest, get_endpoint, post_endpoint
from rosenblatt.dashboard.network_answers import FeatureMapsHeader, MapHeader, NetworkInfo, TraceAnswer, UnitAnswer
from rosenblatt.errors import TableError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.queries import list_artifacts
from rosenblatt.runs.store.store import Store
from rosenblatt.web.errors import RequestError

if TYPE_CHECKING:
    from rosenblatt.models.model import Model

MAX_MODELS = 4  # in memory
MAX_MODEL_BYTES = 1 << 28
MAX_MAPS = 32  # feature maps of a layer


class NetworkQuery(ApiRequest):
    """A network of the model of a run."""

    run: str = Field(max_length=200, description="The id of the run.")
    network: int = Field(1, ge=1, description="Number of the network, from 1.")


class LayerRequest(NetworkQuery):
    """A layer with weights."""

    layer: int = Field(ge=1, description="Number of the layer, from 1.")


class RowRequest(NetworkQuery):
    """A row of the model, as texts."""

    cells: dict[str, str] = Field(description="Cells by column; empty or absent ones are missing; images in base64.")


class UnitRequest(RowRequest):
    """A neuron, for a row."""

    layer: int = Field(ge=1, description="Number of the layer, from 1.")
    unit: int = Field(ge=0, description="Number of the unit, from 0.")


class Networks:
    """The models of the runs of a store.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()  # by hash, the last one used at the end

    def __len__(self) -> int:
        return len(self._models)

    def describe(self, query: NetworkQuery) -> NetworkInfo:
        """The layers of a network, and the columns of its rows. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import describe_network

        return describe_network(self._load(query.run), query.network)

    def weights(self, request: LayerRequest) -> bytes:
        """The weights of a layer as a picture. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import weight_map

        model = self._load(request.run)
        weights, shape = weight_map(model, request.network, request.layer)
        return pack_arrays(MapHeader(shape=shape), {"map": weights})

    def trace(self, request: RowRequest) -> TraceAnswer:
        """A row on its way through a network. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import trace_row

        return trace_row(self._load(request.run), request.network, request.cells)

    def unit(self, request: UnitRequest) -> UnitAnswer:
        """One neuron, for a row. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import describe_unit

        model = self._load(request.run)
        return describe_unit(model, request.network, request.layer, request.unit, request.cells)

    def boundary(self, request: NetworkQuery) -> bytes:
        """The predictions of the model over the plane of its two columns. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import boundary

        header, surface = boundary(self._load(request.run))
        return pack_arrays(header, {"surface": surface})

    def feature_maps(self, request: RowRequest) -> bytes:
        """The feature maps of the convolutions for a row. Raises RequestError or TableError."""
        from rosenblatt.dashboard.network_views import make_frame

        model = self._load(request.run)
        if not model.encoder.media_encodings:
            raise TableError("Feature maps need a convolutional network, but the inputs of this model are a table.")
        from rosenblatt.inspection.torch_feature_maps import feature_maps

        typed = model.schema.read(make_frame(model, request.cells))
        maps = {f"layer{layer + 1}": values for layer, values in feature_maps(model, typed, request.network)}
        header = FeatureMapsHeader(channels={name: len(values) for name, values in maps.items()})
        return pack_arrays(header, {name: values[:MAX_MAPS] for name, values in maps.items()})

    def _load(self, run: str) -> Model:
        """The model of a run. Raises RequestError if it has none, or a large one, StorageError or ModelFileError."""
        from rosenblatt.models.model_file import load_model

        models = [artifact for artifact in list_artifacts(self._store, run).values() if artifact.kind == "model"]
        if not models:
            detail = "The run has no model whose networks could be shown. Choose a finished run of rosenblatt fit."
            raise RequestError(HTTPStatus.NOT_FOUND, detail)
        artifact = models[-1]
        if artifact.bytes > MAX_MODEL_BYTES:
            detail = f"The page shows models of up to {MAX_MODEL_BYTES:,} bytes, but this one has {artifact.bytes:,}."
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail} Use rosenblatt explain.")
        with self._lock:
            if artifact.hash not in self._models:
                with tempfile.TemporaryDirectory(prefix="rosenblatt-") as folder:
                    path = Path(folder) / "model.rosenblatt"
                    Artifacts(self._store.url, self._store).fetch(artifact.hash, artifact.root, path)
                    self._models[artifact.hash] = load_model(path)
                while len(self._models) > MAX_MODELS:
                    self._models.popitem(last=False)
            self._models.move_to_end(artifact.hash)
            return self._models[artifact.hash]


def network_routes(store: Store) -> list[Route]:
    """The paths of the page Network."""
    networks, root = Networks(store), "/api/networks"
    return [
        Route(root, get_endpoint(NetworkQuery, networks.describe)),
        Route(f"{root}/weights", post_endpoint(LayerRequest, networks.weights), methods=["POST"]),
        Route(f"{root}/trace", post_endpoint(RowRequest, networks.trace), methods=["POST"]),
        Route(f"{root}/unit", post_endpoint(UnitRequest, networks.unit), methods=["POST"]),
        Route(f"{root}/boundary", post_endpoint(NetworkQuery, networks.boundary), methods=["POST"]),
        Route(f"{root}/maps", post_endpoint(RowRequest, networks.feature_maps), methods=["POST"]),
    ]
