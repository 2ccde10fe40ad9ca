"""The models of a server by name, reloaded when their files change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from rosenblatt.errors import RosenblattError, ServingError, did_you_mean, format_list
from rosenblatt.serving.log import Log
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.served_model import ServedModel
from rosenblatt.serving.settings import Limits
from rosenblatt.web.errors import RequestError

POLL_INTERVAL_S = 1.0  # between two looks at the files
_FileState = tuple[int, int, int]  # time of change, size and number of a file


class ServedModels:
    """Models by name. A changed file replaces its model at once; requests that run are answered by the old one.

    Args:
        paths: the file of each model, by name.
        limits: of requests.
        metrics: count reloads.
        log: receives what was reloaded, or why not.
    """

    def __init__(self, paths: Mapping[str, Path], limits: Limits, metrics: Metrics, log: Log) -> None:
        self._paths, self._limits, self._metrics, self._log = dict(paths), limits, metrics, log
        self._states = {name: _file_state(path) for name, path in paths.items()}
        self._models = {name: ServedModel.load(name, path, limits, metrics) for name, path in paths.items()}
        self.reload_errors: dict[str, str] = {}  # why a changed file was refused, by name

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of all models; they change when one is reloaded."""
        return tuple(model.version for model in self)

    def find(self, name: str) -> ServedModel:
        """The model of a name. Raises RequestError if there is none."""
        if name not in self._models:
            detail = f"There is no model {name[:80]!r}; there is {format_list(self._models)}."
            raise RequestError(HTTPStatus.NOT_FOUND, detail + did_you_mean(name[:80], self._models))
        return self._models[name]

    @property
    def single(self) -> ServedModel:
        """The only model. Raises RequestError if there are several."""
        if len(self._models) > 1:
            paths = [f"/v1/models/{quote(name, safe='')}/predict" for name in self._models]
            raise RequestError(HTTPStatus.NOT_FOUND, f"There are several models. Use {' or '.join(paths[:8])}.")
        return next(iter(self))

    async def watch(self) -> None:
        """Reload files that change, until cancelled."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            await self.reload_changed()

    async def reload_changed(self) -> None:
        """Load the files that have changed since they were looked at last."""
        for name, path in self._paths.items():
            state = await asyncio.to_thread(_file_state, path)
            if state == self._states[name]:
                continue
            self._states[name] = state
            try:
                served = await asyncio.to_thread(ServedModel.load, name, path, self._limits, self._metrics)
            except RosenblattError as error:
                self.reload_errors[name] = str(error)
                self._metrics.reloads.labels(name, "refused").inc()
                self._log.event(f"model {name}: the changed file was not loaded, the old model stays: {error}")
                continue
            old, self._models[name] = self._models[name], served
            self.reload_errors.pop(name, None)
            old.close()
            self._metrics.reloads.labels(name, "loaded").inc()
            self._log.event(f"model {name}: reloaded, version {served.version}")

    def close(self) -> None:
        """End the threads of all models when all that waits is answered."""
        for model in self:
            model.close()


def _file_state(path: Path) -> _FileState | None:
    """By which a changed file is recognized; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def name_models(arguments: tuple[str, ...]) -> dict[str, Path]:
    """The file of each model by name, from arguments FILE or NAME=FILE.

    Raises ServingError if two models have the same name.
    """
    paths = dict[str, Path]()
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or "/" in name or Path(argument).exists():
            name, path = Path(argument).stem, argument
        if name in paths:
            raise ServingError(f"Two models are named {name!r}. Name one of them: OTHER_NAME={path}.")
        paths[name] = Path(path)
    return paths
