"""Check a written model file in a new Python process."""

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
    """A process that reads a model file and predicts with it.

    Started before training ends, it imports its modules in the meantime and waits for the file. It has a session of
    its own, so that Ctrl-C interrupts the training but not the check of the interrupted model.
    """

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 - this Python, a constant command
            [sys.executable, "-P", "-c", _COMMAND], stdin=pipe, stdout=pipe, stderr=pipe, text=True,
            start_new_session=True,
        )  # fmt: skip

    def check(self, path: Path, model: Model, rows: pl.DataFrame) -> None:
        """Check that the process predicts these rows from the file exactly as `model` does.

        Raises ModelFileError if it does not.
        """
        with tempfile.TemporaryDirectory() as folder:
            rows_path = Path(folder) / "rows.arrow"
            rows.write_ipc(rows_path)
            output, error = self._process.communicate(json.dumps([str(path), str(rows_path)]))
        if self._process.returncode:
            raise ModelFileError(f"The model was not saved: a new process could not read the file. {error[-300:]}")
        if output.strip() != prediction_digest(model, rows):
            raise ModelFileError(
                "The model was not saved: a new process predicts other values from the file. Report this as a bug."
            )

    def close(self) -> None:
        """End the process if it is still waiting."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
