"""A model as a program of torch.export (.pt2), which PyTorch loads without Rosenblatt."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.models.export.inputs import category_codes, prepare_inputs
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.export.signature import FittedModel, Signature
from rosenblatt.models.export.torch_module import TorchModel

SIGNATURE_FILE = "rosenblatt.json"  # in the file: the signature


class _Program(nn.Module):
    """A model that takes its tensors in order, and no others."""

    def __init__(self, model: TorchModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.model(*tensors)


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write a program to a file; sequences and texts have a fixed number of steps there."""
    media = tuple(replace(medium, is_fixed_length=medium.kind != "image") for medium in signature.media)
    signature = replace(signature, media=media)
    inputs = prepare_inputs(signature, sample_rows(model))
    arrays = as_codes(signature, inputs)
    tensors = tuple(torch.from_numpy(arrays[name]) for name in signature.tensor_names)
    rows = tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        program = torch.export.export(_Program(TorchModel(model).eval()), tensors, dynamic_shapes={"tensors": rows})
        torch.export.save(program, path, extra_files={SIGNATURE_FILE: json.dumps(signature.to_json())})
    return signature


def as_codes(signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Input tensors with codes in place of categories, as PyTorch has no strings."""
    if "categories" not in inputs:
        return inputs
    return inputs | {"categories": category_codes(signature, inputs["categories"])}
