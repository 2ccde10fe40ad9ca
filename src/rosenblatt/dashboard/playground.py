"""The playground: networks in training on points of the plane, one for each session, and small frames of what they do.

The engine is imported when the first session starts, so that the dashboard starts without it.
"""

from __future__ import annotations

import csv
import io
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import metadata
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator
from starlette.routing import Route

from rosenblatt.dashboard.binary import ArraysHeader, pack_arrays
from rosenblatt.dashboard.endpoints import ApiRequest, NoParameters, get_endpoint, post_endpoint
from rosenblatt.dashboard.point_sets import POINT_SETS
from rosenblatt.errors import TableError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.web.errors import RequestError, unprocessable

if TYPE_CHECKING:
    from rosenblatt.dashboard.plane_network import PlaneNetwork

GRID_SIZE = 64  # points along each side of the decision surface
MAX_POINTS = 2000
MAX_SESSIONS = 8  # the one that was not used for the longest time ends for a new one
MAX_IDLE_S = 600.0  # after which a session ends
MAX_CLASSES = 20  # distinct values of a column of classes
MLP_DEFAULTS: dict[str, Any] = {
    "hidden_sizes": "8,8", "activation": "tanh", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 16,
    "dropout": 0.0, "weight_decay": 0.0, "l1": 0.0, "batch_order": "shuffled", "seed": 0,
}  # fmt: skip
PERCEPTRON_DEFAULTS: dict[str, Any] = {
    "perceptron_rule": "rosenblatt", "learning_rate": "auto", "margin": 1.0, "aggressiveness": 1.0, "kernel": "rbf",
    "gamma": 1.0, "degree": 3, "budget": 100, "batch_order": "shuffled", "seed": 0,
}  # fmt: skip
DEFAULTS = {"perceptron": PERCEPTRON_DEFAULTS, "mlp": MLP_DEFAULTS}
LAST_CONTROLS = ("batch_order", "seed")
NAMES = {"kind", *MLP_DEFAULTS, *PERCEPTRON_DEFAULTS}  # hyperparameters that the playground has
Coordinate = Annotated[float, Field(ge=-1e9, le=1e9)]
Session = Annotated[str, Field(max_length=64, description="The session, as the first frame names it.")]


class PointsQuery(ApiRequest):
    """Which built-in set of points."""

    name: Literal["separable", "nearly separable", "xor", "circles", "spirals"]
    points: int = Field(200, ge=4, le=MAX_POINTS)
    seed: int = Field(0, ge=0, le=2**31)


class Points(ApiRequest):
    """Points of two classes."""

    x: list[Coordinate] = Field(max_length=MAX_POINTS)
    y: list[Coordinate] = Field(max_length=MAX_POINTS)
    classes: list[Annotated[int, Field(ge=0, le=1)]] = Field(max_length=MAX_POINTS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.x) == len(self.y) == len(self.classes):
            raise ValueError("x, y and classes must have the same length")
        return self


class Training(ApiRequest):
    """A network, its points, and the plane that is shown."""

    points: Points
    hyperparameters: dict[str, str | float | int | list[int]]
    low: tuple[Coordinate, Coordinate] = Field((-1.0, -1.0), description="Smallest x and y of the decision surface.")
    high: tuple[Coordinate, Coordinate] = Field((1.0, 1.0), description="Largest x and y.")


class ChangeRequest(Training):
    """New points or hyperparameters of a session; weights are taken over where the shapes are equal."""

    session: Session


class StepRequest(ApiRequest):
    """Train further."""

    session: Session
    unit: Literal["row", "update", "epoch"] = "epoch"
    count: int = Field(1, ge=0, le=100)


class SaveRequest(ApiRequest):
    """What is to be saved of a session, and how its columns and classes are called."""

    session: Session
    names: tuple[str, str, str] = Field(("x", "y", "class"), description="Names of the two columns and of the target.")
    labels: tuple[str, str] = Field(("0", "1"), description="Names of the classes.")


class TableRequest(ApiRequest):
    """A table that was dropped on the page."""

    text: str = Field(max_length=900_000)


class FrameHeader(ArraysHeader):
    """The state of a session. The arrays: `surface` (64, 64), `corners` (3,), `weight1`, `bias1`, ..."""

    session: str
    epochs: int
    position: int = Field(description="Number of rows that were trained on in the current epoch.")
    rows_seen: int
    mistakes: int
    updates: int
    loss: float | None = Field(description="Training loss of the last epoch; null of a perceptron, and at first.")
    accuracy: float
    max_mistakes: float | None = Field(description="Novikoff's bound (R / gamma)^2; null if it does not hold.")
    bound_note: str = Field(description="Why the bound does not hold.")
    margin: float | None
    radius: float | None
    row: int | None = Field(description="The last row that was trained on, from 0.")
    sum: float | None = Field(description="Its weighted sum before the update.")
    is_mistake: bool
    is_update: bool
    advances_by_epochs: bool
    reused: int = Field(description="Number of arrays of weights that were taken over.")
    is_finished: bool
    failure: str
    sizes: list[int]


class ControlInfo(BaseModel):
    """A hyperparameter that can be changed, as docs/hyperparameters.md describes it."""

    name: str
    help: str
    expected: str
    choices: list[str]
    requires: dict[str, list[str]] = Field(description="Others, and the values of each for which it has an effect.")
    defaults: dict[str, Any] = Field(description="The first value for each kind of network.")


class Controls(BaseModel):
    """The built-in sets, the controls and the place of the documentation."""

    point_sets: list[str]
    controls: list[ControlInfo]
    documentation: str


class PointsAnswer(BaseModel):
    """Points of two classes."""

    x: list[float]
    y: list[float]
    classes: list[int]


class SavedFiles(BaseModel):
    """A spec and points as files, and the command that trains on them."""

    toml: str
    csv: str
    command: str


class TableAnswer(BaseModel):
    """Columns of a table: numbers, of which two can be chosen, and classes."""

    rows: int
    total: int = Field(description="Number of rows of the table; of more than 2,000, a random sample is taken.")
    numbers: dict[str, list[float | None]]
    classes: dict[str, list[str | None]]
    unused: list[str] = Field(description="Columns that are neither.")


@dataclass
class _Session:
    network: PlaneNetwork
    grid: np.ndarray  # (GRID_SIZE^2, 2)
    used: float
    lock: Any = field(default_factory=Lock)


class Playground:
    """The sessions of all pages: `MAX_SESSIONS` at most, which end after `MAX_IDLE_S` without a request.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = OrderedDict[str, _Session]()  # the last one used at the end
        self._lock, self._clock = Lock(), clock

    def __len__(self) -> int:
        return len(self._sessions)

    def start(self, request: Training) -> bytes:
        """Start a session; returns its first frame. Raises RequestError or SpecError."""
        session = _Session(_make_network(request, None), _make_grid(request), self._clock())
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._end_idle()
            while len(self._sessions) >= MAX_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[name] = session
        return _make_frame(name, session)

    def change(self, request: ChangeRequest) -> bytes:
        """Continue a session with other points or hyperparameters. Raises RequestError or SpecError."""
        session = self._find(request.session)
        with session.lock:
            session.network = _make_network(request, session.network)
            session.grid = _make_grid(request)
            return _make_frame(request.session, session)

    def step(self, request: StepRequest) -> bytes:
        """Train the network of a session further. Raises RequestError if the session has ended."""
        session = self._find(request.session)
        with session.lock:
            session.network.train(request.unit, request.count)
            return _make_frame(request.session, session)

    def save(self, request: SaveRequest) -> SavedFiles:
        """The spec and the points of a session as files. Raises RequestError if the session has ended."""
        session = self._find(request.session)
        with session.lock:
            network = session.network
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(request.names)
            for (x, y), label in zip(network.points.tolist(), network.classes, strict=True):
                writer.writerow([x, y, request.labels[label]])
            toml = network.saved_spec().to_toml()
        command = "rosenblatt fit points.csv --target 3 --config playground.toml"
        return SavedFiles(toml=toml, csv=text.getvalue(), command=command)

    def _find(self, name: str) -> _Session:
        with self._lock:
            self._end_idle()
            session = self._sessions.get(name)
            if session is None:
                raise RequestError(HTTPStatus.NOT_FOUND, "This session of the playground has ended. Start a new one.")
            session.used = self._clock()
            self._sessions.move_to_end(name)
            return session

    def _end_idle(self) -> None:
        limit = self._clock() - MAX_IDLE_S
        for name in [name for name, session in self._sessions.items() if session.used < limit]:
            del self._sessions[name]


def playground_routes() -> list[Route]:
    """The paths of the playground."""
    playground, root = Playground(), "/api/playground"
    return [
        Route(root, get_endpoint(NoParameters, load_controls)),
        Route(f"{root}/points", get_endpoint(PointsQuery, make_points)),
        Route(f"{root}/start", post_endpoint(Training, playground.start), methods=["POST"]),
        Route(f"{root}/change", post_endpoint(ChangeRequest, playground.change), methods=["POST"]),
        Route(f"{root}/step", post_endpoint(StepRequest, playground.step), methods=["POST"]),
        Route(f"{root}/save", post_endpoint(SaveRequest, playground.save), methods=["POST"]),
        Route(f"{root}/table", post_endpoint(TableRequest, read_table), methods=["POST"]),
    ]


def load_controls(_: NoParameters) -> Controls:
    """The controls, from the descriptions of the hyperparameters."""
    controls = []
    names = dict.fromkeys(("perceptron_rule", *MLP_DEFAULTS, *PERCEPTRON_DEFAULTS))
    for name in sorted(names, key=LAST_CONTROLS.__contains__):
        hyperparameter = HYPERPARAMETERS[name]
        defaults = {kind: values[name] for kind, values in DEFAULTS.items() if name in values}
        controls.append(
            ControlInfo(
                name=name, help=hyperparameter.help, expected=hyperparameter.expected,
                choices=list(hyperparameter.choices), requires=hyperparameter.requires, defaults=defaults,
            )
        )  # fmt: skip
    urls = dict(url.split(", ", 1) for url in metadata("rosenblatt").get_all("Project-URL") or ())
    return Controls(
        point_sets=list(POINT_SETS), controls=controls, documentation=urls.get("Documentation", ""),
    )  # fmt: skip


def make_points(query: PointsQuery) -> PointsAnswer:
    """Generate a built-in set of points."""
    x, classes = POINT_SETS[query.name](query.points, np.random.default_rng(query.seed))
    x = x.round(4)
    return PointsAnswer(x=x[:, 0].tolist(), y=x[:, 1].tolist(), classes=classes.tolist())


def read_table(request: TableRequest) -> TableAnswer:
    """Read the columns of a table in a text, as `rosenblatt fit` reads them. Raises TableError."""
    from rosenblatt.data.readers.read import read_formatted
    from rosenblatt.data.schema.inference import infer_schema
    from rosenblatt.data.table import DETECT_FORMAT

    with tempfile.TemporaryDirectory(prefix="rosenblatt-") as folder:
        path = Path(folder) / "table.csv"
        path.write_text(request.text, "utf-8")
        try:
            table = read_formatted(str(path), DETECT_FORMAT)
        except TableError as error:
            raise TableError(str(error).replace(str(path), "the table")) from None
    frame = table.frame
    total = frame.height
    schema = infer_schema(frame, HYPERPARAMETERS["max_categories"].default, table.format, [])
    typed = schema.read(frame)
    if total > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).permutation(total)[:MAX_POINTS])
        frame, typed = frame[rows], typed[rows]
    names = [column.name for column in schema.input_columns if column.kind == "number" and column.name in typed.columns]
    numbers = {name: [_finite(value) for value in typed[name].to_list()] for name in names}
    classes = {
        name: [None if cell is None else str(cell) for cell in frame[name].to_list()]
        for name in frame.columns if 2 <= frame[name].drop_nulls().n_unique() <= MAX_CLASSES
    }  # fmt: skip
    unused = [name for name in frame.columns if name not in numbers and name not in classes]
    return TableAnswer(rows=frame.height, total=total, numbers=numbers, classes=classes, unused=unused)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _make_network(request: Training, previous: PlaneNetwork | None) -> PlaneNetwork:
    from rosenblatt.dashboard.plane_network import PlaneNetwork, make_spec

    unknown = request.hyperparameters.keys() - NAMES
    if unknown:
        raise unprocessable(f"The playground has no control {min(unknown)!r}. It has: {', '.join(sorted(NAMES))}.")
    kind = request.hyperparameters.get("kind", "mlp")
    if kind not in DEFAULTS:
        raise unprocessable(f"The playground trains kind perceptron or mlp, but kind is {kind!r}. Choose one of them.")
    if {*request.points.classes} != {0, 1}:
        raise unprocessable("There must be points of both classes. Add a point of the class that is missing.")
    if min(request.high[k] - request.low[k] for k in (0, 1)) <= 0:
        raise unprocessable("The plane must have a width and a height, but low is not below high.")
    spec = make_spec(request.hyperparameters)
    points = np.column_stack([request.points.x, request.points.y])
    classes = np.array(request.points.classes)
    has_other_points = previous is not None and not np.array_equal(previous.points, points)
    if has_other_points and kind == "perceptron":
        previous = None  # its counts belong to its points
    return PlaneNetwork(points, classes, spec, previous)


def _make_grid(request: Training) -> np.ndarray:
    """The points of the decision surface: rows from the smallest y, each from the smallest x."""
    x, y = (np.linspace(request.low[k], request.high[k], GRID_SIZE) for k in (0, 1))
    return np.column_stack([np.tile(x, GRID_SIZE), np.repeat(y, GRID_SIZE)])


def _make_frame(name: str, session: _Session) -> bytes:
    from rosenblatt.dashboard.plane_network import layer_arrays

    network, grid = session.network, session.grid
    separation, last = network.separation, network.last_row
    header = FrameHeader(
        session=name, epochs=network.epochs, position=network.position, rows_seen=network.rows_seen,
        mistakes=network.mistakes, updates=network.updates, loss=_finite(network.loss), accuracy=network.accuracy,
        bound_note=network.bound_note, max_mistakes=separation and separation.max_mistakes,
        margin=separation and separation.margin, radius=separation and separation.radius,
        row=last and last.row, sum=last and _finite(last.sum),
        is_mistake=bool(last and last.is_mistake), is_update=bool(last and last.is_update),
        advances_by_epochs=network.advances_by_epochs, reused=network.n_reused, is_finished=network.is_finished,
        failure=network.failure, sizes=list(network.architecture.sizes),
    )  # fmt: skip
    layers = layer_arrays(network)
    arrays = {"surface": network.predict(grid).reshape(GRID_SIZE, GRID_SIZE)}
    if layers and network.is_perceptron:
        corners = grid[[0, GRID_SIZE - 1, GRID_SIZE * (GRID_SIZE - 1)]]
        arrays["corners"] = network.current_sums(corners)
    return pack_arrays(header, arrays | layers)
