"""Driver of a search on a Ray cluster: a child process that gives work items to an actor on each machine.

It holds no truth: the controller, at the other end of its pipes, sends the items again that it loses. It ends with its
controller, also if that is cut off without a word, so that another driver gets the cores of its actors. Ray may end
this process at any time, for instance because the head of the cluster is lost.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from importlib.metadata import version
from threading import Thread, Timer
from typing import IO, Any

from rosenblatt.tuning.ray_connection import read_command, write_report
from rosenblatt.tuning.ray_dispatch import CLOSE_TIMEOUT_S, RayDriver
from rosenblatt.tuning.start_marker import write_start


class _Watch:
    """Ends the process if the controller gives no sign of life for some seconds."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s, self._last = silence_s, time.monotonic()

    def note_life(self) -> None:
        """Note that something has arrived."""
        self._last = time.monotonic()

    def run(self) -> None:
        """Wait for the silence. Other threads may be blocked by pipes that nobody reads, so that none is asked."""
        while (seconds := self._last + self._silence_s - time.monotonic()) > 0:
            time.sleep(seconds)
        os._exit(1)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes from and to the controller; what others print goes to standard error."""
    commands, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    return commands, reports


def _make_driver(ray: Any, reports: IO[bytes], work: dict[str, Any]) -> RayDriver:
    """The driver for trials of a function, for networks, or for networks that several machines train together.

    Imports are local because those for networks load the compiled engine, which trials of a function do not need.
    """
    if "cores_per_trial" in work:
        from rosenblatt.tuning.ray_processes import ProcessDriver

        return ProcessDriver(ray, reports, work["cores_per_trial"], work["gpus_per_trial"])
    if work["nodes_per_network"] > 1:
        from rosenblatt.tuning.ray_ranks import RankDriver

        return RankDriver(ray, reports, work["device"], work["nodes_per_network"])
    from rosenblatt.tuning.node_worker import NodeWorker

    return RayDriver(ray, reports, work["device"], NodeWorker)


def main() -> None:
    """Join the cluster that the controller names, and serve it until its pipe ends."""
    commands, reports = _take_pipes()
    write_start(reports)
    start = read_command(commands)
    if start is None:
        return
    os.environ.update(start.header["environment"])
    try:
        import ray

        ray.init(address=start.header["address"], log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # noqa: BLE001 - the controller shows it
        write_report(reports, "refused", message=str(error).strip() or type(error).__name__)
        sys.exit(1)
    write_report(reports, "joined", rosenblatt=version("rosenblatt"), ray=ray.__version__)
    driver = _make_driver(ray, reports, start.header)

    watch = _Watch(start.header["silence_s"])

    def read_commands() -> None:
        while (message := read_command(commands, watch.note_life)) is not None:
            watch.note_life()
            driver.events.put(partial(driver.on_command, message))
        timer = Timer(2 * CLOSE_TIMEOUT_S, os._exit, (1,))  # Ray may never return from a call
        timer.daemon = True
        timer.start()
        driver.events.put(driver.close)

    Thread(target=read_commands, daemon=True).start()
    Thread(target=watch.run, daemon=True).start()
    try:
        driver.run()
        driver.end()
    except BrokenPipeError:  # the controller has ended
        driver.end()


if __name__ == "__main__":
    main()
