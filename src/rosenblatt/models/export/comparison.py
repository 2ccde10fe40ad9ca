"""Comparison of an exported model with the original: it is loaded in a new process, by its framework alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rosenblatt.errors import ExportError
from rosenblatt.models.export.inputs import Tensors
from rosenblatt.models.export.signature import Signature

MAX_DIFFERENCE = 1e-5  # of a prediction, relative to the largest one of its output
ERROR_LINES = 3  # last lines of the output of a process that failed


@dataclass(frozen=True)
class Comparison:
    """How close the predictions of an exported model are to those of the original."""

    rows: int
    largest_difference: float  # relative to the largest prediction of each output


def compare(checker: Path, exported: Path, inputs: Tensors, expected: np.ndarray, signature: Signature) -> Comparison:
    """Predict rows with an exported model in a new process, and compare the predictions with the expected ones.

    Args:
        checker: a script that imports nothing but the framework: it is called with the exported file, a file of inputs
            (NumPy's .npz, in the order of the signature) and the file to write the predictions to (.npy).
        exported: the file or folder of the exported model.
        inputs: of the rows.
        expected: predictions of the original, (n, K) or (n, T, K).
        signature: of the model.

    Raises:
        ExportError: if the model cannot be loaded, or a difference exceeds `MAX_DIFFERENCE`.
    """
    got = predict_in_new_process(checker, exported, {name: inputs[name] for name in signature.tensor_names})
    if got.shape != expected.shape:
        raise ExportError(
            f"The exported model predicts an array of shape {got.shape}, but the original one of {expected.shape}."
        )
    if signature.is_per_step:  # after the end of a row, predictions have no meaning
        is_step = np.arange(expected.shape[1]) < inputs[signature.media[0].lengths_name][:, None]
        got, expected = got[is_step], expected[is_step]
    difference = largest_difference(got, expected)
    if not difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"The predictions of the exported model differ by {difference:.1e} from those of the original, relative to "
            f"the largest, but at most {MAX_DIFFERENCE:.0e} is accepted. Nothing was written. Please report this fault."
        )
    return Comparison(len(inputs[signature.tensor_names[0]]), difference)


def predict_in_new_process(checker: Path, file: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Predict with a file of a framework: a script is called with the file, the arrays and where to write predictions.

    Raises ExportError if the script fails.
    """
    with tempfile.TemporaryDirectory(prefix="rosenblatt-compare-") as folder:
        rows, predictions = Path(folder) / "rows.npz", Path(folder) / "predictions.npy"
        np.savez(rows, **arrays)  # type: ignore[arg-type] # its stub
        _run([sys.executable, "-I", str(checker), str(file), str(rows), str(predictions)])
        return np.asarray(np.load(predictions))


def largest_difference(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of predictions (n, K), relative to the largest one of its output; NaN if one is NaN."""
    largest = np.abs(expected).max(axis=0, initial=np.finfo(np.float32).tiny)
    return float((np.abs(got - expected) / largest).max(initial=0.0))


def _run(command: Sequence[str]) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if process.returncode:
        lines = " ".join(process.stderr.strip().splitlines()[-ERROR_LINES:]) or f"exit status {process.returncode}"
        raise ExportError(f"The model cannot be loaded in a new process: {lines}")
