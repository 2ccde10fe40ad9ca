"""A new Python process that reads a written model file and predicts with it, to check the file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from rosenblatt.errors import ModelFileError
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import prediction_digest

_COMMAND = (
    "import json, sys; from rosenblatt.models.model_file import print_digest; print_digest(*json.load(sys.stdin))"
)


class ModelFileChecker:
    """Start early: the process imports what it needs while the model is still trained, then waits for the file.

    It has a session of its own, so that Ctrl-C stops the training and not the check of what was trained until then.
    """

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 - this Python, a constant command
            [sys.executable, "-P", "-c", _COMMAND], stdin=pipe, stdout=pipe, stderr=pipe, text=True,
            start_new_session=True,
        )  # fmt: skip

    def check(self, path: Path, model: Model, rows: pl.DataFrame) -> None:
        """Check that the process predicts the same from the file as `model` does, to the last bit.

        Raises ModelFileError.
        """
        with tempfile.TemporaryDirectory() as folder:
            rows_path = Path(folder) / "rows.arrow"
            rows.write_ipc(rows_path)
            output, error = self._process.communicate(json.dumps([str(path), str(rows_path)]))
        if self._process.returncode:
            raise ModelFileError(f"The model was not written: a new process could not read it. {error[-300:]}")
        if output.strip() != prediction_digest(model, rows):
            raise ModelFileError(
                "The model was not written: read again in a new process, it does not predict the same."
            )

    def close(self) -> None:
        """End the process if it still waits."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
