"""Servers of models in this process."""

from __future__ import annotations

import io
from pathlib import Path

from starlette.testclient import TestClient

from rosenblatt.serving.app import Application
from rosenblatt.serving.log import Log
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.models import ServedModels
from rosenblatt.serving.settings import Limits
from rosenblatt.web.access import Access


class Served:
    """An application that serves model files, with a client and all parts."""

    def __init__(self, *paths: Path, access: Access | None = None, limits: Limits | None = None) -> None:
        self.metrics, self.lines, limits = Metrics(), io.StringIO(), limits or Limits()
        log = Log("json", self.lines)
        self.models = ServedModels({path.stem: path for path in paths}, limits, self.metrics, log)
        self.application = Application(self.models, limits, access or Access(), self.metrics, log)
        self.client = TestClient(self.application.asgi, base_url="http://localhost", raise_server_exceptions=False)

    def predict(self, *rows: dict, path: str = "/predict"):
        """Post rows as JSON."""
        return self.client.post(path, json={"rows": list(rows)})
