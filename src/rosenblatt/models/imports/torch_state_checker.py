"""Predict rows with weights named layer by layer; run as a script, with PyTorch, safetensors and NumPy alone."""

import re
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

FUNCTIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda x: x, "step": lambda x: (x > 0).float()}


def main(file: str, rows: str, predictions: str) -> None:
    """Apply the layers to rows, and write the outputs."""
    arrays = np.load(rows)
    state, x = load_file(file), torch.from_numpy(arrays["x"])
    activation = str(arrays["activation"]) if "activation" in arrays else "identity"
    activate = FUNCTIONS.get(activation) or getattr(F, activation)
    layers = {name.rpartition(".")[0] for name in state}
    n_linear = 0
    for layer in sorted(
        layers, key=lambda name: [(not p.isdigit(), int(p) if p.isdigit() else p) for p in parts(name)]
    ):
        values = {name.rpartition(".")[2]: t.float() for name, t in state.items() if name.rpartition(".")[0] == layer}
        if "running_mean" in values:
            x = F.batch_norm(x, values["running_mean"], values["running_var"], values["weight"], values["bias"])
            continue
        x = F.linear(activate(x) if n_linear else x, values["weight"], values.get("bias"))
        n_linear += 1
    np.save(predictions, x.detach().numpy())


def parts(name: str) -> list[str]:
    """Words and numbers of a name."""
    return [part for part in re.split(r"(\d+)", name) if part]


if __name__ == "__main__":
    main(*sys.argv[1:])
