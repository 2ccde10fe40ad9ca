"""The output of queued experiments: of a file of this machine, or of the record of the run."""

from __future__ import annotations

import codecs
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from rosenblatt.cluster.queue import Experiment, load_experiments
from rosenblatt.errors import RunError
from rosenblatt.runs.store.queries import load_output
from rosenblatt.runs.store.store import Store

POLL_INTERVAL_S = 0.2  # seconds between two looks at a file that grows


def read_log(store: Store, number: int, *, follow: bool = False) -> Iterator[str]:
    """Read what an experiment has printed; with `follow` until it has ended.

    Raises RunError if it has not started, or its file is on another machine and its run recorded nothing.
    """
    (experiment,) = load_experiments(store, [number])
    while experiment.log is None:
        if not follow or experiment.state not in ("waiting", "running"):
            raise RunError(f"Experiment {number} has printed nothing: it is {experiment.state}, and was never started.")
        time.sleep(POLL_INTERVAL_S)
        (experiment,) = load_experiments(store, [number])
    machine, _, path = experiment.log.partition(":")
    if machine == socket.gethostname() and Path(path).is_file():
        yield from _read_file(store, experiment, Path(path), follow)
        return
    text = "".join(text for _, text in load_output(store, experiment.run or ""))
    if not text or follow:
        raise RunError(f"The output of experiment {number} is on {machine}, in {path}. Read it there.")
    yield text


def _read_file(store: Store, experiment: Experiment, path: Path, follow: bool) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with path.open("rb") as file:
        while True:
            is_over = not follow or load_experiments(store, [experiment.number])[0].state not in ("waiting", "running")
            yield decoder.decode(file.read())
            if is_over:
                return
            time.sleep(POLL_INTERVAL_S)
