import numpy as np
import pytest

from rosenblatt.models.export.inputs import category_codes, prepare_inputs
from rosenblatt.models.export.signature import read_signature
from tests.models.export.fitted_models import (
    DEEP,
    DENSE,
    ENCODINGS,
    make_deep_model,
    make_dense_model,
    make_ensemble,
    typed_rows,
)

pytestmark = pytest.mark.torch


def torch_tensors(model, rows):
    import torch

    signature = read_signature(model)
    tensors = prepare_inputs(signature, rows)
    if "categories" in tensors:
        tensors["categories"] = category_codes(signature, tensors["categories"])
    return [torch.from_numpy(tensors[name]) for name in signature.tensor_names]


def largest_difference(model, seed):
    from rosenblatt.models.export.torch_module import to_torch

    rows = typed_rows(seed).select(column.name for column in model.schema.columns)
    expected = model.predict_typed(rows)
    got = to_torch(model)(*torch_tensors(model, rows)).detach().numpy()
    assert got.shape == expected.shape
    if model.target.is_per_step:  # after the end of a row, predictions have no meaning
        lengths = torch_tensors(model, rows)[1].numpy()
        is_step = np.arange(got.shape[1]) < lengths[:, None]
        got, expected = got[is_step], expected[is_step]
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1)).max())


@pytest.mark.parametrize("name", DENSE)
def test_dense_networks_predict_as_the_model_does(name):
    assert largest_difference(make_dense_model(name), seed=1) < 1e-5


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numbers_are_encoded_as_the_model_does(encoding):
    assert largest_difference(make_dense_model("relu", encoding), seed=1) < 1e-5
    assert largest_difference(make_dense_model("relu", encoding), seed=0) < 1e-5


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_predict_as_the_model_does(name):
    assert largest_difference(make_deep_model(name), seed=1) < 1e-5


def test_an_ensemble_with_different_encodings_predicts_as_the_model_does():
    assert largest_difference(make_ensemble(), seed=1) < 1e-5
