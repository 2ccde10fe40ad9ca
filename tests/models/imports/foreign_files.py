"""Files of other frameworks, and what their networks predict in this process."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

N_INPUTS = 4
RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, N_INPUTS)).astype(np.float32)


def write_sequential(path: Path, *modules, x: np.ndarray = X) -> np.ndarray:
    """Write a Sequential of PyTorch with torch.export; return its outputs."""
    import torch

    module = torch.nn.Sequential(*modules).eval()
    rows = torch.from_numpy(x)
    program = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)
    return module(rows).detach().numpy()


def rewrite_archive(source: Path, target: Path, changes: dict[str, bytes]) -> None:
    """Copy a ZIP archive with other contents of the files whose names end in the keys of `changes`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = next((c for end, c in changes.items() if entry.filename.endswith(end)), old.read(entry))
            new.writestr(entry.filename, content)


def predictions(path: Path, **names) -> np.ndarray:
    """The predictions of the model that is imported from a file, for X."""
    from rosenblatt.models.imports.assembly import Names, assemble_model
    from rosenblatt.models.imports.comparison import read_file

    activation = names.pop("activation", None)
    model = assemble_model(read_file(path, activation), Names(**names), path.name).model
    return model.predict_typed(X.astype(np.float64))
