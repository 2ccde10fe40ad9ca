"""Tracking of a run by its own program: metrics, hyperparameters, files, and everything that is captured."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.own_inputs import report_artifact, unwatched_inputs, watch_inputs
from rosenblatt.runs.capture.resources import ResourceMonitor, peak_memory
from rosenblatt.runs.capture.snapshot import (
    RunSnapshot,
    default_experiment,
    fingerprint_data,
    main_script,
    process_info,
    read_seeds,
)
from rosenblatt.runs.integrations.methods import FrameworkMethods
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.records import NOTE_PREFIX, RecordBatch
from rosenblatt.runs.tracking.launched import LaunchedRun, claim_launched_run, find_launched_run, may_reuse
from rosenblatt.runs.tracking.output import OutputCapture
from rosenblatt.runs.tracking.program_end import (
    end_on_signals,
    ignore_signals,
    state_of_block_error,
    state_of_error,
    uncaught_error,
    watch_program,
)
from rosenblatt.runs.tracking.start import RunStart, new_id
from rosenblatt.runs.tracking.values import MAX_STEP, as_png, to_curve, to_float, to_step
from rosenblatt.runs.tracking.writer import MAX_BULK_POINTS, Writer, get_writer

if TYPE_CHECKING:
    import numpy as np

    from rosenblatt.runs.store.artifacts import Artifacts
    from rosenblatt.runs.store.curves import CurveSummary

_clock = time.time
_sequence = itertools.count()  # numbers the runs that this process begins, without trials
_OTHER_PROCESS = -1


class Run(FrameworkMethods):
    """A run that is being recorded, as made by `track`. It ends with `finish`, or as a context manager with its block.

    Attributes:
        id: Its name in the store.
        url: The address of the store, or None if nothing is recorded.
        experiment: The set of runs it belongs to.
        params: Its hyperparameters.
        reused: Whether this is an earlier run with the same inputs that has finished; there is nothing left to do.
        not_reused: Why no earlier run is reused, if one was looked for.
    """

    def __init__(self, url: str | None, run: str, experiment: str, params: Mapping[str, Any]) -> None:
        self.url, self.id, self.experiment, self.params = url, run, experiment, dict(params)
        self.reused, self.not_reused = False, ""
        self._writer: Writer | None = get_writer(url) if url else None
        self._sink = self._log_first if self._writer else _discard
        self._step, self._logged_curves = -1, dict[str, "tuple[int, CurveSummary]"]()
        self._process, self._is_ended, self._owns_run = os.getpid(), False, True
        self._is_late_reported = False
        self.data: list[InputFile] = []
        self.measure_peak_memory: Callable[[], int | None] = peak_memory
        self.seeds: dict[str, int] = {}
        self._snapshot: RunSnapshot | None = None
        self._output: OutputCapture | None = None
        self.read_inputs: Callable[[], Mapping[str, Any]] = dict  # returns metadata on what was read, at the end
        self.on_log: Callable[[Mapping[str, float], int], None] | None = None  # called by `log` with values and step

    def __repr__(self) -> str:
        return f"Run({self.id!r}, experiment={self.experiment!r})"

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the values of some metrics at a step; returns within microseconds.

        Args:
            metrics: Numbers of any library by name; NaN and infinity are kept.
            step: An integer; by default one more than the last.

        Raises:
            RunError: If a value is not a number, or the step not an integer.
        """
        if step is None:
            step = self._step + 1
        elif type(step) is not int or not -MAX_STEP <= step < MAX_STEP:
            step = to_step(step)
        self._step = step
        values = {}
        for name, value in metrics.items():
            values[name] = value if type(value) is float and type(name) is str and name else to_float(name, value)
        self._sink(self.id, (step, _clock(), values))
        if self.on_log is not None:
            self.on_log(values, step)

    def _log_first(self, run: str, entry: Any) -> None:
        """Log the first points, with NumPy loaded now, and not at the end of the program."""
        import rosenblatt.runs.store.point_log  # noqa: F401

        assert self._writer is not None  # noqa: S101 - else nothing is logged
        self._sink = self._writer.log
        self._sink(run, entry)

    def _log_late(self, _run: str, _entry: Any) -> None:
        self._sink = _discard
        self._report_late()

    def _report_late(self) -> None:
        """Say once that nothing is recorded any more."""
        if not self._is_late_reported:
            self._is_late_reported = True
            message = f"run {self.id} has ended, so what is logged to it now is not recorded"
            print(f"rosenblatt: {message}", file=sys.stderr)

    def log_curve(self, name: str, values: Sequence[float] | np.ndarray, steps: Sequence[int] | None = None) -> None:
        """Log many points of one metric.

        Args:
            name: The metric.
            values: The values (n,).
            steps: Their steps (n,); by default 0, 1, 2, ...

        Raises:
            RunError: If the shapes differ.
        """
        import numpy as np

        from rosenblatt.runs.store.curves import make_points, merge_summaries, summarize

        curve_values, curve_steps = to_curve(values, steps)
        if not curve_values.size or self._writer is None:
            return
        if self._is_ended:
            self._report_late()
            return
        batch, now = RecordBatch(), time.time()
        chunk_index, total = self._logged_curves.get(name, (0, None))
        for start in range(0, curve_values.size, MAX_BULK_POINTS):
            chunk = slice(start, start + MAX_BULK_POINTS)
            points = make_points(curve_steps[chunk], np.full(curve_values[chunk].size, now), curve_values[chunk])
            total = merge_summaries(total, summarize(points))
            batch.add_curve(self.id, name, f"{self._writer.id}b", chunk_index, points, total)
            chunk_index += 1
        assert total is not None  # noqa: S101 - there is a point
        self._logged_curves[name] = chunk_index, total
        self._writer.put(batch)

    def set_params(self, params: Mapping[str, Any], explicit: bool | Mapping[str, bool] = True) -> None:
        """Record hyperparameters; `explicit` says which of them are not defaults."""
        self.params |= params
        self._put(lambda batch: batch.add_params(self.id, params, explicit))

    def tag(self, **tags: str) -> None:
        """Record tags, words to find the run by."""
        batch = RecordBatch()
        for name, value in tags.items():
            batch.add_tag(self.id, name, value)
        self.put(batch)

    def note(self, name: str, value: Any) -> None:
        """Record a note: any value that can be written as JSON; `runs show` prints it."""
        self.set_metadata(f"{NOTE_PREFIX}{name}", value)

    def set_metadata(self, name: str, value: Any) -> None:
        """Record a value for other parts of this library; see `RunDetails`."""
        self._put(lambda batch: batch.add_metadata(self.id, name, value))

    def use_data(self, path: str | Path, name: str = "") -> None:
        """Record the content of a file or folder that the run reads, as a hash. Raises RunError."""
        self.data.append(fingerprint_data(path, name))
        self.set_metadata("data", [file.to_json() for file in self.data])

    def log_artifact(self, path: str | Path, name: str = "", kind: str = "file") -> None:
        """Store a file, or all files of a folder. Raises StorageError."""
        path = Path(path)
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                self.log_artifact(file, f"{name or path.name}/{file.relative_to(path).as_posix()}", kind)
        elif self._writer:
            report_artifact(path)
            stored = self.artifacts().store_file(path)
            self._put(lambda batch: batch.add_artifact(self.id, name or path.name, kind, *stored))
        elif not path.exists():
            raise StorageError(f"{str(path)!r} cannot be stored as an artifact: there is no such file.")

    def log_bytes(self, name: str, content: bytes, kind: str = "file") -> None:
        """Store a file with this content. Raises StorageError."""
        if self._writer:
            stored = self.artifacts().store_bytes(content)
            self._put(lambda batch: batch.add_artifact(self.id, name, kind, *stored))

    def log_figure(self, name: str, figure: Any) -> None:
        """Store a figure of Matplotlib, or of another library with a method `to_image` or `save`."""
        if self.url:
            self.log_bytes(name if Path(name).suffix else f"{name}.png", as_png(figure), "figure")

    def describe(self, model: Any, optimizer: Any = None) -> None:
        """Record the architecture of a PyTorch, Keras or scikit-learn model, and the settings of its optimizer."""
        from rosenblatt.runs.integrations.frameworks import describe_model

        params, summary_text = describe_model(model, optimizer)
        self.set_params({name: value for name, value in params.items() if name not in self.params})
        self.set_metadata("model", summary_text)

    def flush(self) -> bool:
        """Wait until everything recorded so far is written; returns False if neither database nor disk accepts it."""
        return self._writer.flush() if self._writer else True

    def finish(self, state: str = "finished", reason: str | None = None) -> None:
        """End the run as finished, stopped or failed, with a reason."""
        if self._is_ended:
            return
        if os.getpid() != self._process:  # the run belongs to the process that began it
            self.flush()
            return
        if self._output:
            self._output.release()
        self._is_ended, self._sink = True, _discard
        ignore_signals(self)
        atexit.unregister(self._finish_at_exit)
        if self._writer is None:
            return
        self._sink = self._log_late
        batch = RecordBatch()
        if self._owns_run or state != "finished":
            batch.update_run(self.id, state=state, reason=reason, ended=time.time())
        try:
            if self._snapshot and self._snapshot.capture_modules():
                self._snapshot.write(batch, self.id)
            if self._owns_run:
                for name, value in self.read_inputs().items():
                    batch.add_metadata(self.id, name, value)
                batch.add_metadata(self.id, "peak_memory", self.measure_peak_memory())
                batch.add_metadata(self.id, "seeds", {**read_seeds(), **self.seeds})
        finally:  # also after a second Ctrl-C
            self._writer.put(batch)
        self._writer.end_run(self.id)

    def finish_at_exit(self) -> None:
        """Finish the run when the program ends, if nothing finishes it earlier."""
        watch_program()
        atexit.register(self._finish_at_exit)
        if multiprocessing.parent_process():  # a forked child does not call functions of `atexit`
            Finalize(None, self._finish_at_exit, exitpriority=20)  # before the writer is closed

    def _finish_at_exit(self) -> None:
        self.finish(*state_of_error(uncaught_error()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.finish(*state_of_block_error(error))

    @property
    def is_taken_over(self) -> bool:
        """Whether another process has resumed the run, because this one gave no sign of life."""
        return self._writer is not None and self._writer.has_lost(self.id)

    def check_owner(self) -> None:
        """Raise RunError if another process has resumed the run."""
        if self.is_taken_over:
            raise RunError(f"Another process has resumed run {self.id}, so this one stops.")

    def _put(self, fill: Callable[[RecordBatch], object]) -> None:
        batch = RecordBatch()
        fill(batch)
        self.put(batch)

    def put(self, batch: RecordBatch) -> None:
        """Record a batch, of this run or its trials."""
        if self._writer and self._is_ended:
            self._report_late()
        elif self._writer:
            self._writer.put(batch)

    def store_source(self, path: Path) -> tuple[str, str]:
        """Store a file of the run's source; returns its hash and root."""
        stored = self.artifacts().store_file(path)
        return stored.hash, stored.root

    def artifacts(self) -> Artifacts:
        """The files of the store."""
        from rosenblatt.runs.store.artifacts import Artifacts

        assert self._writer is not None  # noqa: S101 - only recorded runs have files
        return Artifacts(self._writer.url, self._writer.store)

    def begin(
        self,
        start: RunStart,
        snapshot: RunSnapshot | None = None,
        *,
        resumed: bool = False,
        capture_output: bool = False,
        monitor: bool = True,
    ) -> None:
        """Record that the run begins, or goes on after an interruption.

        Args:
            start: What is known of it.
            snapshot: Its source and environment.
            resumed: Whether it is in the store already; this process takes it over.
            capture_output: Whether to record what this process prints.
            monitor: Whether it runs in this process: its resources are monitored, and its imports added to the source.

        Raises:
            RunError: If it is to be resumed, but another process runs it.
        """
        if self._writer is None:
            return
        batch = RecordBatch()
        if resumed and not self._writer.take_over(self.id):
            raise RunError(
                f"Another process runs {self.id}: it gave a sign of life less than {STALE_SECONDS:.0f} s ago. Wait "
                "for its end, or stop it first."
            )
        if resumed:
            batch.update_run(self.id, identity=start.identity or None)
        else:
            launched_run = find_launched_run(self.url)  # also of a fit or search that a script starts
            parent = start.parent or (launched_run.run if launched_run else None)
            place = {"parent": parent, "number": start.number, "identity": start.identity}
            batch.add_run(self.id, self.experiment, start.name, start.kind, **place)
        sequence = {"sequence": next(_sequence)} if start.number is None else {}
        for name, value in {**process_info(), **sequence, **start.metadata}.items():
            batch.add_metadata(self.id, name, value)
        self._add_inputs(batch, start.tags)
        if snapshot:
            snapshot.write(batch, self.id)
        self._writer.put(batch)
        self._writer.start_run(self.id)
        self._writer.flush()
        self._output = OutputCapture(self._writer, self.id)
        if capture_output:
            self._output.capture()
        if monitor:
            self._snapshot = snapshot
            self.monitor()
            end_on_signals(self)

    def monitor(self, process: int | None = None) -> None:
        """Log the resources that a process uses, by default this one, and add newly imported modules to the source."""
        writer = self._writer
        if writer is None:
            return
        resources = ResourceMonitor(lambda values, second: writer.log(self.id, (second, time.time(), values)), process)

        def sample() -> None:
            if self._is_ended:
                return
            resources.sample()
            if self._snapshot and self._snapshot.refresh_modules():
                self.write_snapshot(self._snapshot)

        writer.add_before_write_hook(self.id, sample)

    def write_snapshot(self, snapshot: RunSnapshot) -> None:
        """Record a snapshot that has changed."""
        self._put(lambda batch: snapshot.write(batch, self.id))

    def write_output(self, stream: str, text: str) -> None:
        """Record text as printed by the run; `stream` is stdout or stderr."""
        if self._output and not self._is_ended:
            self._output.add(stream, text)

    def _add_inputs(self, batch: RecordBatch, tags: Mapping[str, str] | None = None) -> None:
        for name, value in (tags or {}).items():
            batch.add_tag(self.id, name, value)
        batch.add_params(self.id, self.params)
        if self.data:
            batch.add_metadata(self.id, "data", [file.to_json() for file in self.data])

    def reuse_finished(self, identity: str) -> bool:
        """Become the newest finished run of an identity, if there is one; nothing is recorded any more then."""
        from rosenblatt.runs.capture.reuse import find_reusable_run

        finished_id, self.not_reused = find_reusable_run(self.url, identity) if self.url else (None, "")
        if self.not_reused:
            print(f"not reused: {self.not_reused}", file=sys.stderr)
        if finished_id:
            self.id, self.reused, self._is_ended, self._writer = finished_id, True, True, None
            self._sink = _discard
        return self.reused

    def attach(self, launched_run: LaunchedRun, experiment: str, name: str) -> None:
        """Write to the run that `rosenblatt run` has begun and will end; non-empty names replace those it has."""
        self._owns_run = False
        next(_sequence)
        if self._writer:
            self._writer.attach(self.id, launched_run.owner)
        names = {key: value for key, value in (("experiment", experiment), ("name", name)) if value}
        self._put(lambda batch: batch.update_run(self.id, **names))
        self._put(self._add_inputs)
        end_on_signals(self)

    @property
    def owner(self) -> str:
        """The token under which processes write to the run; empty if nothing is recorded, or no longer."""
        return self._writer.find_owner(self.id) if self._writer and not self._is_ended else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Hand the run to another process, which writes to it but does not end it."""
        return _join_run, (type(self), self.url, self.id, self.experiment, self.params, self.owner, self._step)


def _join_run(
    kind: type[Run], url: str | None, run_id: str, experiment: str, params: dict[str, Any], owner: str, step: int
) -> Run:
    """Make a run of which this process writes a part, but which belongs to another process."""
    run = kind(url if owner else None, run_id, experiment, params)
    run._process, run._step = _OTHER_PROCESS, step  # noqa: SLF001
    if run._writer:  # noqa: SLF001
        run._writer.attach(run_id, owner)  # noqa: SLF001
    return run


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
    """Begin a run of any program and record it.

    with rosenblatt.track("my-experiment", params={"lr": 0.1}) as run:
        run.log({"loss": 0.3, "acc": 0.9}, step=10)

    The source (with git also uncommitted changes), the environment, the command line, the output, the resources used
    and how the run ends are recorded automatically. Without a `with` block the run ends with the program.

    Args:
        experiment: The set of runs it belongs to; by default named after the script.
        params: Hyperparameters by name: values that can be written as JSON.
        name: A name for this run.
        tags: Words to find the run by.
        data: Files and folders that the run reads; a hash of their content is recorded.
        reuse: Whether to return an earlier finished run with the same source, hyperparameters, data and environment,
            with `reused` True, if there is one.
        store: A folder, `postgresql://USER@HOST/DATABASE`, `https://HOST:PORT` of a dashboard (with its token in
            ROSENBLATT_TOKEN), or "none" to record nothing. By default ROSENBLATT_STORE, or the nearest `.rosenblatt/`
            folder, searched upwards from the working folder.

    Raises:
        StoreError: If the store is damaged or of another version. If it only cannot be reached, records wait for it.
        RunError: If a file of `data` cannot be read.
    """
    url, script = store_url(store), main_script()
    launched_run = claim_launched_run(url)
    run_id = launched_run.run if launched_run else new_id()
    run = Run(url, run_id, experiment or default_experiment(script), params or {})
    run.data = [fingerprint_data(path) for path in data]
    if launched_run:
        run.attach(launched_run, experiment, name)
        run.tag(**(tags or {}))
    elif url:
        snapshot = RunSnapshot(script, run.store_source, run.url)
        spec = {"params": run.params, "arguments": sys.argv[1:], "folder": str(Path.cwd())}
        identity = snapshot.identify("track", spec, run.data)
        if reuse and may_reuse() and run.reuse_finished(identity):
            return run
        run.read_inputs = watch_inputs(url, snapshot.source.root, run.id, run.data) if reuse else unwatched_inputs
        start = RunStart("track", name, identity, tags=tags or {})
        run.begin(start, snapshot, capture_output=True)
    run.finish_at_exit()
    return run


def _discard(_run: str, _entry: Any) -> None:
    """Ignore an entry of a run that is not recorded, or has ended."""
