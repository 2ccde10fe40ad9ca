from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import save_file

from rosenblatt.errors import ExportError
from tests.models.imports.foreign_files import RNG, X, predictions


def weights(*sizes):
    tensors = {}
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        tensors[f"{2 * k}.weight"] = RNG.normal(size=(n_out, n_in)).astype(np.float32)
        tensors[f"{2 * k}.bias"] = RNG.normal(size=n_out).astype(np.float32)
    return tensors


def test_layers_are_read_in_the_order_of_their_numbers(tmp_path):
    tensors = weights(4, *[5] * 6, 2)  # 10.weight comes after 2.weight
    save_file(tensors, tmp_path / "w.safetensors")
    a = X
    for k in range(0, 14, 2):
        a = (np.maximum(a, 0) if k else a) @ tensors[f"{k}.weight"].T + tensors[f"{k}.bias"]
    got = predictions(tmp_path / "w.safetensors", activation="relu")
    np.testing.assert_allclose(got, a, rtol=1e-4, atol=1e-4 * np.abs(a).max())


def test_the_activation_must_be_named(tmp_path):
    save_file(weights(4, 5, 2), tmp_path / "w.safetensors")
    with pytest.raises(
        ExportError, match=r"weights of 2 layers, but not their activation\. Name it \(--activation relu\)"
    ):
        predictions(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"2.weight": np.zeros((2, 7), np.float32)}, "Layer 2 has 7 inputs, but the layer before it has 5 units"),
        ({"2.weight": np.zeros((2, 5, 3, 3), np.float32)}, "layer '2' holds 'bias' and 'weight', which is no layer"),
        ({"4.alpha": np.zeros(3, np.float32)}, "layer '4' holds 'alpha'"),
        ({"2.bias": np.full(2, np.nan, np.float32)}, "not finite"),
    ],
)
def test_other_weights_are_refused_in_one_sentence(tmp_path, changes, message):
    save_file(weights(4, 5, 2) | changes, tmp_path / "w.safetensors")
    with pytest.raises(ExportError, match=message):
        predictions(tmp_path / "w.safetensors", activation="relu")


def test_damaged_files_are_one_sentence(tmp_path):
    save_file(weights(4, 5, 2), tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    for n in (0, 7, 50, len(content) - 1):
        (tmp_path / "x.safetensors").write_bytes(content[:n])
        with pytest.raises(ExportError, match="is damaged, or not a file of safetensors"):
            predictions(tmp_path / "x.safetensors", activation="relu")
