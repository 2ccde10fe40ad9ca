"""Driver of a cluster without Ray, for tests: its machines are threads of the process, listed in a JSON file.

    python local_ray.py

It runs `rosenblatt.tuning.ray_driver` with a module in place of Ray. The file, named by the variable LOCAL_RAY_NODES,
holds `{"a": 2, "b": 1}`: machines and their cores. A machine that leaves the file is lost; one with -1 cores crashes
whenever it gets items, and each does if an item has a hyperparameter "poison".
"""

from __future__ import annotations

import json
import os
import sys
import types
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rosenblatt.tuning import ray_dispatch, ray_driver

__version__ = "0"
_actors: list[Actor] = []


def read_nodes() -> dict[str, int]:
    return json.loads(Path(os.environ["LOCAL_RAY_NODES"]).read_text())


class ActorLostError(Exception):
    pass


class Ref:
    """Reference to the result of a method, or to an object of the store."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def future(self) -> Future[Any]:
        return self._future


class Actor:
    """The actor of a machine: its methods run in threads; once it is killed, they fail."""

    def __init__(self, node_id: str, worker_class: type, *arguments: Any) -> None:
        self.node_id, self._is_killed, self._futures = node_id, False, list[Future[Any]]()
        self._pool = ThreadPoolExecutor(8)
        self._worker = self._pool.submit(worker_class, *arguments)
        _actors.append(self)

    def __getattr__(self, name: str) -> Any:
        return types.SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Ref:
        future = Future[Any]()
        self._futures.append(future)
        contents = [argument.future().result() if isinstance(argument, Ref) else argument for argument in arguments]

        def run() -> None:
            try:
                result = getattr(self._worker.result(), name)(*contents)
            except Exception as error:  # noqa: BLE001 - the driver handles it
                future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        if name == "submit" and (read_nodes().get(self.node_id) == -1 or any(b"poison" in c for c in contents[1])):
            self.kill("the process has crashed")
        else:
            self._pool.submit(run)
        return Ref(future)

    def kill(self, reason: str) -> None:
        if not self._is_killed:
            self._is_killed = True
            for future in self._futures:
                if not future.done():
                    future.set_exception(ActorLostError(reason))


class ActorClass:
    """Creates actors, as what `ray.remote` returns."""

    def __init__(self, worker_class: type, node_id: str = "") -> None:
        self._worker_class, self._node_id = worker_class, node_id

    def options(self, label_selector: dict[str, str], **_resources: Any) -> ActorClass:
        return ActorClass(self._worker_class, label_selector[ray_dispatch.NODE_ID_LABEL])

    def remote(self, *arguments: Any) -> Actor:
        return Actor(self._node_id, self._worker_class, *arguments)


def remote(actor_class: type) -> ActorClass:
    return ActorClass(actor_class)


def put(value: Any) -> Ref:
    future = Future[Any]()
    future.set_result(value)
    return Ref(future)


def kill(actor: Actor) -> None:
    actor.kill("the actor was killed")


def nodes() -> list[dict[str, Any]]:
    alive = read_nodes()
    for actor in _actors:
        if actor.node_id not in alive:
            actor.kill("the machine is off")
    place = {"Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 1}
    return [
        place | {"NodeID": name, "NodeManagerHostname": name, "Resources": {"CPU": abs(cores)}}
        for name, cores in alive.items()
    ]


def init(address: str, **_options: Any) -> None:
    if address != "auto":
        raise ConnectionError(f"there is no cluster at {address}")


def shutdown() -> None:
    pass


if __name__ == "__main__":
    sys.modules["ray"] = sys.modules["__main__"]
    ray_driver.main()
    os._exit(0)
