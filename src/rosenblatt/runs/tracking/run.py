"""Tracking of a run by the program that runs it: metrics, hyperparameters, files, and what is captured by itself."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.resources import ResourceMonitor, peak_memory
from rosenblatt.runs.capture.snapshot import (
    RunSnapshot,
    fingerprint_path,
    main_script,
    process_info,
    read_seeds,
    run_identity,
)
from rosenblatt.runs.capture.source import source_hash
from rosenblatt.runs.store.curves import CurveSummary, summarize
from rosenblatt.runs.store.locations import NO_STORE, artifact_root, store_url
from rosenblatt.runs.store.records import NOTE_PREFIX, RecordBatch
from rosenblatt.runs.tracking.output import OutputCapture
from rosenblatt.runs.tracking.writer import MAX_BULK_POINTS, Writer, get_writer, make_points, merge_summaries

# variables by which `rosenblatt run` tells a script its run
RUN_VARIABLE, PARENT_VARIABLE = "ROSENBLATT_RUN", "ROSENBLATT_PARENT"
_clock = time.time
_MAX_STEP = 2**63


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
        self._writer: Writer | None = get_writer(url) if url else None
        self._root = artifact_root(url) if url else ""
        self._sink = self._writer.log if self._writer else _discard
        self._process = os.getpid()
        self._step, self._logged_curves = -1, dict[str, tuple[int, CurveSummary]]()
        self._is_ended, self._owns_run = False, True
        self.data: list[dict[str, Any]] = []  # what it learns from: name, path, hash, bytes
        self.measure_peak_memory: Callable[[], int | None] = peak_memory
        self.seeds: dict[str, int] = {}
        self._snapshot: RunSnapshot | None = None
        self._output: OutputCapture | None = None
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
        elif type(step) is not int or not -_MAX_STEP <= step < _MAX_STEP:
            step = _to_step(step)
        self._step = step
        values = {}
        for name, value in metrics.items():
            values[name] = value if type(value) is float and type(name) is str and name else _to_float(name, value)
        self._sink(self.id, (step, _clock(), values))
        if self.on_log is not None:
            self.on_log(values, step)

    def log_curve(self, name: str, values: Sequence[float] | np.ndarray, steps: Sequence[int] | None = None) -> None:
        """Take many points (n,) of one metric at once; steps count from 0 where they are left out."""
        curve_values = np.asarray(values, np.float64)
        curve_steps = np.arange(len(curve_values)) if steps is None else np.asarray(steps, np.int64)
        if curve_values.ndim != 1 or curve_steps.shape != curve_values.shape:
            raise RunError(
                f"A curve needs one step for each value, but {curve_values.shape} values have "
                f"{curve_steps.shape} steps."
            )
        if not curve_values.size or self._writer is None or self._is_ended:
            return
        batch, now = RecordBatch(), time.time()
        chunk_index, total = self._logged_curves.get(name, (0, None))
        for start in range(0, curve_values.size, MAX_BULK_POINTS):
            chunk = slice(start, start + MAX_BULK_POINTS)
            points = make_points(curve_steps[chunk], np.full(curve_values[chunk].size, now), curve_values[chunk])
            total = summarize(points) if total is None else merge_summaries(total, summarize(points))
            batch.add_curve(self.id, name, f"{self._writer.id}b", chunk_index, points, total)
            chunk_index += 1
        assert total is not None  # noqa: S101 - there is a point
        self._logged_curves[name] = chunk_index, total
        self._writer.put(batch)

    def set_params(self, params: Mapping[str, Any], explicit: bool | Mapping[str, bool] = True) -> None:
        """Take hyperparameters: plain data by name; `explicit` says which are not defaults."""
        self.params |= params
        self._put(lambda batch: batch.add_params(self.id, params, explicit))

    def tag(self, **tags: str) -> None:
        """Take words about the run, to find it by."""

        def fill(batch: RecordBatch) -> None:
            for name, value in tags.items():
                batch.add_tag(self.id, name, value)

        self._put(fill)

    def note(self, name: str, value: Any) -> None:
        """Take a note about the run: any plain data, shown by `runs show`."""
        self.set_metadata(f"{NOTE_PREFIX}{name}", value)

    def set_metadata(self, name: str, value: Any) -> None:
        """Take what is known of the run without being told."""
        self._put(lambda batch: batch.add_metadata(self.id, name, value))

    def use_data(self, path: str | Path, name: str = "") -> None:
        """Take down the content of a file or folder that the run learns from, as a hash. Raises RunError."""
        self.data.append(fingerprint_data(path, name))
        self.set_metadata("data", self.data)

    def log_artifact(self, path: str | Path, name: str = "", kind: str = "file") -> None:
        """Keep a file, or all files of a folder, under the hash of their content. Raises StorageError."""
        from rosenblatt.runs.store.artifacts import store_file

        path = Path(path)
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                self.log_artifact(file, f"{name or path.name}/{file.relative_to(path).as_posix()}", kind)
        elif self.url:
            stored = store_file(path, self._root, self.url)
            self._put(lambda batch: batch.add_artifact(self.id, name or path.name, kind, *stored))
        elif not path.exists():
            raise StorageError(f"{str(path)!r} cannot be kept as an artifact: there is no such file.")

    def log_bytes(self, name: str, content: bytes, kind: str = "file") -> None:
        """Keep a few bytes as a file of this name. Raises StorageError."""
        from rosenblatt.runs.store.artifacts import store_bytes

        if self.url:
            stored = store_bytes(content, self._root, self.url)
            self._put(lambda batch: batch.add_artifact(self.id, name, kind, *stored))

    def log_figure(self, name: str, figure: Any) -> None:
        """Keep a picture: a figure of Matplotlib, or of another library that can `write_image` or `save`."""
        if self.url:
            self.log_bytes(name if Path(name).suffix else f"{name}.png", _as_png(figure), "figure")

    def describe(self, model: Any, optimizer: Any = None) -> None:
        """Take the architecture of a model and the settings of its optimizer: PyTorch, Keras or scikit-learn."""
        from rosenblatt.runs.integrations.frameworks import describe_model

        params, summary_text = describe_model(model, optimizer)
        self.set_params({name: value for name, value in params.items() if name not in self.params})
        self.set_metadata("model", summary_text)

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
        if self._is_ended:
            return
        if os.getpid() != self._process:  # a forked process: the run is its parent's
            self.flush()
            return
        self._is_ended, self._sink = True, _discard
        atexit.unregister(self._finish_at_exit)
        if self._output:
            self._output.release()
        if self._writer is None:
            return
        batch = RecordBatch()
        if self._snapshot and self._snapshot.capture_modules():
            self._snapshot.write(batch, self.id)
        if self._owns_run:
            batch.add_metadata(self.id, "peak_memory", self.measure_peak_memory())
            batch.add_metadata(self.id, "seeds", {**read_seeds(), **self.seeds})
            batch.update_run(self.id, state=state, reason=reason, ended=time.time())
        elif reason:
            batch.update_run(self.id, reason=reason)
        self._writer.put(batch)
        self._writer.end_run(self.id)

    def finish_at_exit(self) -> None:
        """Finish the run when the program ends, if nothing finishes it earlier."""
        atexit.register(self._finish_at_exit)

    def _finish_at_exit(self) -> None:
        self.finish(*_exit_state(_uncaught_error()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.finish(*_exit_state(error))

    def _put(self, fill: Callable[[RecordBatch], object]) -> None:
        if self._writer and not self._is_ended:
            batch = RecordBatch()
            fill(batch)
            self._writer.put(batch)

    @property
    def store_name(self) -> str:
        """The store as `--store` and ROSENBLATT_STORE take it."""
        return (self.url or NO_STORE).removeprefix("sqlite:///")

    @property
    def writer(self) -> Writer:
        """What writes it, where it is tracked."""
        assert self._writer is not None  # noqa: S101 - asked of runs that are tracked
        return self._writer

    def store_source(self, path: Path) -> tuple[str, str]:
        """Keep a file of the run's source: its hash, and where."""
        from rosenblatt.runs.store.artifacts import store_file

        assert self.url is not None  # noqa: S101 - only runs that are tracked have a source
        stored = store_file(path, self._root, self.url)
        return stored.hash, stored.root

    def begin(self, name: str, kind: str, snapshot: RunSnapshot | None, **attributes: Any) -> None:
        """Write that it has begun, with its circumstances; `attributes` as `RecordBatch.add_run` takes them."""
        if self._writer is None:
            return
        batch = RecordBatch()
        batch.add_run(self.id, self.experiment, name, kind, **attributes)
        for key, value in process_info().items():
            batch.add_metadata(self.id, key, value)
        self._add_inputs(batch)
        self.start_monitoring(batch, snapshot)
        self._writer.put(batch)
        self._writer.start_run(self.id)
        self._writer.flush()

    def _add_inputs(self, batch: RecordBatch) -> None:
        """Put what was known of it before it began into a batch: hyperparameters and data."""
        batch.add_params(self.id, self.params)
        if self.data:
            batch.add_metadata(self.id, "data", self.data)

    def resume(self, snapshot: RunSnapshot) -> None:
        """Write that it goes on, after it was interrupted."""
        batch = RecordBatch()
        batch.update_run(self.id, state="running", reason=None, ended=None)
        for key, value in process_info().items():
            batch.add_metadata(self.id, key, value)
        self.start_monitoring(batch, snapshot)
        self.writer.put(batch)
        self.writer.start_run(self.id)

    def start_monitoring(self, batch: RecordBatch, snapshot: RunSnapshot | None) -> None:
        """Keep what is printed, and look at what the process takes, until the end."""
        writer, self._snapshot = self.writer, snapshot
        if snapshot:
            snapshot.write(batch, self.id)
        resources = ResourceMonitor(lambda values, second: writer.log(self.id, (second, time.time(), values)))

        def sample() -> None:
            if self._is_ended:
                return
            resources.sample()
            if snapshot and snapshot.refresh_modules():
                self._put(lambda batch: snapshot.write(batch, self.id))

        writer.add_before_write_hook(self.id, sample)

    def capture_output(self) -> None:
        """Keep what this process prints from now on."""
        if self._writer:
            self._output = OutputCapture(self._writer, self.id)
            self._output.capture()

    def reuse_run(self, run_id: str) -> None:
        """Be a run that was finished before; nothing more is recorded."""
        self.id, self.reused, self._is_ended, self._writer = run_id, True, True, None
        self._sink = _discard

    def attach(self, experiment: str, name: str) -> None:
        """Write to a run that another process has begun, and will end; by the names that it has here."""
        self._owns_run = False
        names = {key: value for key, value in (("experiment", experiment), ("name", name)) if value}
        self._put(lambda batch: batch.update_run(self.id, **names))
        self._put(self._add_inputs)


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
    url, script = store_url(store), main_script()
    explicit_experiment, experiment = experiment, experiment or (script.stem if script.is_file() else script.name)
    inherited_id = os.environ.pop(RUN_VARIABLE, None) if store is None else None
    run = Run(url, inherited_id or new_id(), experiment, params or {})
    run.data = [fingerprint_data(path) for path in data]
    if inherited_id:
        os.environ[PARENT_VARIABLE] = inherited_id
        run.attach(explicit_experiment, name)
    elif url:
        snapshot = RunSnapshot(script, run.store_source)
        identity = run_identity(
            "track",
            source_hash(snapshot.source),
            {"params": run.params, "arguments": sys.argv[1:], "folder": str(Path.cwd())},
            [entry["hash"] for entry in run.data],
            snapshot.environment,
        )
        if reuse:
            from rosenblatt.runs.store.queries import find_finished_run

            finished_id = find_finished_run(url, identity)
            if finished_id:
                run.reuse_run(finished_id)
                return run
        run.begin(name, "track", snapshot, identity=identity, parent=os.environ.get(PARENT_VARIABLE))
        run.capture_output()
    run.tag(**(tags or {}))
    run.finish_at_exit()
    return run


def _exit_state(error: BaseException | None) -> tuple[str, str | None]:
    """How a program ended: the state of its run, and the reason."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "finished", None
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    return "failed", f"{type(error).__name__}: {error}"[:2000]


def _uncaught_error() -> BaseException | None:
    """The exception that ends the program, at exit; None at an interactive prompt, where errors do not end it."""
    if hasattr(sys, "ps1"):
        return None
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)  # last_exc: Python 3.12 and later


def _discard(_run: str, _entry: Any) -> None:
    """Where nothing is tracked."""


def fingerprint_data(path: str | Path, name: str = "") -> dict[str, Any]:
    """Data by its content, as `fingerprint_path` gives it. Raises RunError where it cannot be read."""
    try:
        return fingerprint_path(Path(path), name)
    except OSError as error:
        raise RunError(f"The data {str(path)!r} cannot be read: {error.strerror or error}.") from error


def _to_float(name: Any, value: Any) -> float:
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


def _to_step(step: Any) -> int:
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != step or not -_MAX_STEP <= number < _MAX_STEP:
        raise RunError(f"A step must be a whole number, but {step!r} came. Count batches or epochs.")
    return number


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
