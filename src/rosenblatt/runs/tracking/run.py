"""In: what a program says of a run. Out: the run in a store, with all that can be known of it without being told."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import secrets
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.resources import Resources, peak_memory
from rosenblatt.runs.capture.snapshot import Captured, circumstances, data_of, identity_of, main_place, seeds
from rosenblatt.runs.capture.source import hash_of
from rosenblatt.runs.store.curves import Summary, summary
from rosenblatt.runs.store.locations import NONE, artifacts_of, url_of
from rosenblatt.runs.store.records import NOTE, Batch
from rosenblatt.runs.tracking.output import Output
from rosenblatt.runs.tracking.writer import LARGE, Writer, joint, points_of, writer_of

RUN, PARENT = "ROSENBLATT_RUN", "ROSENBLATT_PARENT"  # variables by which `rosenblatt run` tells a script its run
_clock = time.time
_FAR = 2**63


def new_id() -> str:
    """A name for a run that no other has: 10 of 32 letters and digits, none of which is taken for another."""
    return "".join(secrets.choice("23456789abcdefghjkmnpqrstuvwxyz") for _ in range(10))


class Run:
    """One run, as the program that runs it writes it. Made by `track`; ends with `finish`, or as a context manager.

    `id` is its name in the store, `url` that of the store (None where nothing is tracked), `params` its
    hyperparameters, `reused` whether nothing needs to be done, since a finished run is the same.
    """

    def __init__(self, url: str | None, run: str, experiment: str, params: Mapping[str, Any]) -> None:
        self.url, self.id, self.experiment, self.params = url, run, experiment, dict(params)
        self.reused = False
        self._writer: Writer | None = writer_of(url) if url else None
        self._root = artifacts_of(url) if url else ""
        self._take = self._writer.log if self._writer else _nowhere
        self._process = os.getpid()
        self._step, self._bulk = -1, dict[str, tuple[int, Summary]]()
        self._ended, self._is_ours = False, True
        self.data: list[dict[str, Any]] = []  # what it learns from: name, path, hash, bytes
        self.peak: Callable[[], int | None] = peak_memory
        self.seeds: dict[str, int] = {}
        self._captured: Captured | None = None
        self._output: Output | None = None
        self.on_log: Callable[[Mapping[str, float], int], None] | None = None  # told what is logged, by a search

    def __repr__(self) -> str:
        return f"Run({self.id!r}, experiment={self.experiment!r})"

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Take the values of some metrics at a step; returns at once, in some microseconds.

        Args:
            metrics: numbers by name; NaN and infinity are kept as they are.
            step: a whole number; one more than the last where it is left out.

        Raises RunError for what is no number.
        """
        if step is None:
            step = self._step + 1
        elif type(step) is not int or not -_FAR <= step < _FAR:
            step = _whole(step)
        self._step = step
        values = {}
        for name, value in metrics.items():
            values[name] = value if type(value) is float and type(name) is str and name else _number(name, value)
        self._take(self.id, (step, _clock(), values))
        if self.on_log is not None:
            self.on_log(values, step)

    def log_curve(self, name: str, values: Sequence[float] | np.ndarray, steps: Sequence[int] | None = None) -> None:
        """Take many points (n,) of one metric at once; steps count from 0 where they are left out."""
        found = np.asarray(values, np.float64)
        at = np.arange(len(found)) if steps is None else np.asarray(steps, np.int64)
        if found.ndim != 1 or at.shape != found.shape:
            raise RunError(f"A curve needs one step for each value, but {found.shape} values have {at.shape} steps.")
        if not found.size or self._writer is None or self._ended:
            return
        batch, now = Batch(), time.time()
        number, before = self._bulk.get(name, (0, None))
        for start in range(0, found.size, LARGE):
            part = slice(start, start + LARGE)
            points = points_of(at[part], np.full(found[part].size, now), found[part])
            before = summary(points) if before is None else joint(before, summary(points))
            batch.curve(self.id, name, f"{self._writer.id}b", number, points, before)
            number += 1
        assert before is not None  # noqa: S101 - there is a point
        self._bulk[name] = number, before
        self._writer.put(batch)

    def set_params(self, params: Mapping[str, Any], chosen: bool | Mapping[str, bool] = True) -> None:
        """Take hyperparameters: plain data by name; `chosen` says which are not defaults."""
        self.params |= params
        self._put(lambda batch: batch.params(self.id, params, chosen))

    def tag(self, **tags: str) -> None:
        """Take words about the run, to find it by."""

        def fill(batch: Batch) -> None:
            for name, value in tags.items():
                batch.tag(self.id, name, value)

        self._put(fill)

    def note(self, name: str, value: Any) -> None:
        """Take a note about the run: any plain data, shown by `runs show`."""
        self.fact(f"{NOTE}{name}", value)

    def fact(self, name: str, value: Any) -> None:
        """Take what is known of the run without being told."""
        self._put(lambda batch: batch.fact(self.id, name, value))

    def use_data(self, path: str | Path, name: str = "") -> None:
        """Take down the content of a file or folder that the run learns from, as a hash. Raises RunError."""
        self.data.append(known_data(path, name))
        self.fact("data", self.data)

    def log_artifact(self, path: str | Path, name: str = "", kind: str = "file") -> None:
        """Keep a file, or all files of a folder, under the hash of their content. Raises StorageError."""
        from rosenblatt.runs.store.artifacts import keep

        path = Path(path)
        if path.is_dir():
            for each in sorted(p for p in path.rglob("*") if p.is_file()):
                self.log_artifact(each, f"{name or path.name}/{each.relative_to(path).as_posix()}", kind)
        elif self.url:
            kept = keep(path, self._root, self.url)
            self._put(lambda batch: batch.artifact(self.id, name or path.name, kind, *kept))
        elif not path.exists():
            raise StorageError(f"{str(path)!r} cannot be kept as an artifact: there is no such file.")

    def log_bytes(self, name: str, content: bytes, kind: str = "file") -> None:
        """Keep a few bytes as a file of this name. Raises StorageError."""
        from rosenblatt.runs.store.artifacts import keep_bytes

        if self.url:
            kept = keep_bytes(content, self._root, self.url)
            self._put(lambda batch: batch.artifact(self.id, name, kind, *kept))

    def log_figure(self, name: str, figure: Any) -> None:
        """Keep a picture: a figure of Matplotlib, or of another library that can `write_image` or `save`."""
        if self.url:
            self.log_bytes(name if Path(name).suffix else f"{name}.png", _as_png(figure), "figure")

    def describe(self, model: Any, optimizer: Any = None) -> None:
        """Take the architecture of a model and the settings of its optimizer: PyTorch, Keras or scikit-learn."""
        from rosenblatt.runs.integrations.frameworks import described

        params, summary_text = described(model, optimizer)
        self.set_params({name: value for name, value in params.items() if name not in self.params})
        self.fact("model", summary_text)

    def keras_callback(self) -> Any:
        """A callback for `model.fit` of Keras, on any of its backends: every metric of each epoch, and the model."""
        from rosenblatt.runs.integrations.keras import callback

        return callback(self)

    def lightning_logger(self) -> Any:
        """A logger for Lightning's `Trainer`."""
        from rosenblatt.runs.integrations.lightning import logger

        return logger(self)

    def flush(self) -> bool:
        """Return once all that was taken is written; False where no disk and no database took it."""
        return self._writer.flush() if self._writer else True

    def finish(self, state: str = "finished", reason: str | None = None) -> None:
        """End the run: finished, stopped or failed, and why."""
        if self._ended:
            return
        if os.getpid() != self._process:  # a forked process: the run is its parent's
            self.flush()
            return
        self._ended, self._take = True, _nowhere
        _open_runs.discard(self)
        if self._output:
            self._output.release()
        if self._writer is None:
            return
        batch = Batch()
        if self._captured and self._captured.take_modules():
            self._captured.write(batch, self.id)
        if self._is_ours:
            batch.fact(self.id, "peak_memory", self.peak())
            batch.fact(self.id, "seeds", {**seeds(), **self.seeds})
            batch.change(self.id, state=state, reason=reason, ended=time.time())
        elif reason:
            batch.change(self.id, reason=reason)
        self._writer.put(batch)
        self._writer.end(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.finish(*_ending(error))

    def _put(self, fill: Callable[[Batch], object]) -> None:
        if self._writer and not self._ended:
            batch = Batch()
            fill(batch)
            self._writer.put(batch)

    @property
    def place(self) -> str:
        """The store as `--store` and ROSENBLATT_STORE take it."""
        return (self.url or NONE).removeprefix("sqlite:///")

    @property
    def writer(self) -> Writer:
        """What writes it, where it is tracked."""
        assert self._writer is not None  # noqa: S101 - asked of runs that are tracked
        return self._writer

    def keep_source(self, path: Path) -> tuple[str, str]:
        """Keep a file of the run's source: its hash, and where."""
        from rosenblatt.runs.store.artifacts import keep

        assert self.url is not None  # noqa: S101 - only runs that are tracked have a source
        kept = keep(path, self._root, self.url)
        return kept.hash, kept.root

    def begin(self, name: str, kind: str, captured: Captured | None, **more: Any) -> None:
        """Write that it has begun, with its circumstances; `more` as `Batch.begin` takes it."""
        if self._writer is None:
            return
        batch = Batch()
        batch.begin(self.id, self.experiment, name, kind, **more)
        for fact, value in circumstances().items():
            batch.fact(self.id, fact, value)
        self._known(batch)
        self.watch_over(batch, captured)
        self._writer.put(batch)
        self._writer.begin(self.id)
        self._writer.flush()

    def _known(self, batch: Batch) -> None:
        """Put what was known of it before it began into a batch: hyperparameters and data."""
        batch.params(self.id, self.params)
        if self.data:
            batch.fact(self.id, "data", self.data)

    def go_on(self, captured: Captured) -> None:
        """Write that it goes on, after it was interrupted."""
        batch = Batch()
        batch.change(self.id, state="running", reason=None, ended=None)
        for fact, value in circumstances().items():
            batch.fact(self.id, fact, value)
        self.watch_over(batch, captured)
        self.writer.put(batch)
        self.writer.begin(self.id)

    def watch_over(self, batch: Batch, captured: Captured | None) -> None:
        """Keep what is printed, and look at what the process takes, until the end."""
        writer, self._captured = self.writer, captured
        if captured:
            captured.write(batch, self.id)
        resources = Resources(lambda values, second: writer.log(self.id, (second, time.time(), values)))

        def look() -> None:
            if self._ended:
                return
            resources.look()
            if captured and captured.look_again():
                self._put(lambda batch: captured.write(batch, self.id))

        writer.every_time(self.id, look)

    def capture_output(self) -> None:
        """Keep what this process prints from now on."""
        if self._writer:
            self._output = Output(self._writer, self.id)
            self._output.capture()

    def stand_for(self, finished: str) -> None:
        """Be a run that was finished before; nothing more is recorded."""
        self.id, self.reused, self._ended, self._writer = finished, True, True, None
        self._take = _nowhere

    def attach(self, experiment: str, name: str) -> None:
        """Write to a run that another process has begun, and will end; by the names that it has here."""
        self._is_ours = False
        names = {key: word for key, word in (("experiment", experiment), ("name", name)) if word}
        self._put(lambda batch: batch.change(self.id, **names))
        self._put(self._known)


def track(
    experiment: str = "",
    *,
    params: Mapping[str, Any] | None = None,
    name: str = "",
    tags: Mapping[str, str] | None = None,
    data: Sequence[str | Path] = (),
    reuse: bool = False,
    store: str | None = None,
) -> Run:
    """Begin a run of any program, and record it.

    with rosenblatt.track("my-experiment", params={"lr": 0.1}) as run:
        run.log({"loss": 0.3, "acc": 0.9}, step=10)

    Recorded by itself: the source (with git also what is not committed), the environment, the command line, what is
    printed, how much of the machine is used, and how it ends.

    Args:
        experiment: the name of the set of runs it belongs to; that of the script where it is left out.
        params: hyperparameters: plain data by name.
        name: of this run.
        tags: words about the run, to find it by.
        data: files and folders that it learns from, whose content is taken down as a hash.
        reuse: where a finished run is the same in source, hyperparameters, data and environment, return that one,
            with `reused` True.
        store: a folder, or `postgresql://USER@HOST/DATABASE`; else ROSENBLATT_STORE, or the next `.rosenblatt/`
            upwards from the working folder. "none" records nothing.

    Raises:
        StoreError: for a store that is damaged, or of a later version. One that cannot be reached stops nothing.
    """
    url, place = url_of(store), main_place()
    given, experiment = experiment, experiment or (place.stem if place.is_file() else place.name)
    inherited = os.environ.pop(RUN, None) if store is None else None
    run = Run(url, inherited or new_id(), experiment, params or {})
    run.data = [known_data(path) for path in data]
    if inherited:
        os.environ[PARENT] = inherited
        run.attach(given, name)
    elif url:
        captured = Captured(place, run.keep_source)
        identity = identity_of(
            "track",
            hash_of(captured.source),
            {"params": run.params, "arguments": sys.argv[1:], "folder": str(Path.cwd())},
            [one["hash"] for one in run.data],
            captured.environment,
        )
        if reuse:
            from rosenblatt.runs.store.queries import finished_run

            found = finished_run(url, identity)
            if found:
                run.stand_for(found)
                return run
        run.begin(name, "track", captured, identity=identity, parent=os.environ.get(PARENT))
        run.capture_output()
    run.tag(**(tags or {}))
    _open_runs.add(run)
    return run


def _ending(error: BaseException | None) -> tuple[str, str | None]:
    """How a program ended: the state of its run, and the reason."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "finished", None
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    return "failed", f"{type(error).__name__}: {error}"[:2000]


_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()  # which end with the program, if not before


def _finish_all(state: str = "finished", reason: str | None = None) -> None:
    for run in list(_open_runs):
        run.finish(state, reason)


def _noticed(previous: Callable[..., object]) -> Callable[..., object]:
    """Have open runs end as failed where the program ends by an error that nobody caught."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        try:
            _finish_all(*_ending(error))
        finally:
            previous(kind, error, trace)

    return hook


sys.excepthook = _noticed(sys.excepthook)
atexit.register(_finish_all)


def _nowhere(_run: str, _entry: Any) -> None:
    """Where nothing is tracked."""


def known_data(path: str | Path, name: str = "") -> dict[str, Any]:
    """Data by its content, as `data_of` gives it. Raises RunError where it cannot be read."""
    try:
        return data_of(Path(path), name)
    except OSError as error:
        raise RunError(f"The data {str(path)!r} cannot be read: {error.strerror or error}.") from error


def _number(name: Any, value: Any) -> float:
    if not isinstance(name, str) or not name:
        raise RunError(f"The name of a metric must be text, but {name!r} came.")
    if not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError):
            return float(value.item() if hasattr(value, "item") else value)
    kind = type(value).__name__
    raise RunError(
        f"The metric {name!r} must be one number, but {kind} {str(value)[:80]!r} came. Log numbers by name; words and "
        "lists fit `run.note(name, value)`."
    )


def _whole(step: Any) -> int:
    try:
        found = int(step)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or found != step or not -_FAR <= found < _FAR:
        raise RunError(f"A step must be a whole number, but {step!r} came. Count batches or epochs.")
    return found


def _as_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(buffer, format="png", bbox_inches="tight")
    elif hasattr(figure, "to_image"):
        return bytes(figure.to_image(format="png"))
    elif hasattr(figure, "save"):
        figure.save(buffer, format="PNG")
    else:
        raise RunError(f"A figure was expected, but {type(figure).__name__} came, which cannot be saved as a picture.")
    return buffer.getvalue()
