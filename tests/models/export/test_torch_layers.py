import numpy as np
import pytest

from tests.models.export.fitted_models import make_deep_model, make_dense_model, typed_rows
from tests.models.export.test_torch_module import torch_tensors

pytestmark = pytest.mark.torch


def module_of(model):
    from rosenblatt.models.export.torch_module import to_torch

    return to_torch(model)


def test_layers_have_names_and_the_parameters_of_the_model():
    model = make_dense_model("residual batch norm", n_networks=1)
    state = module_of(model).state_dict()
    network = model.networks[0]
    parameters = network.architecture.parameters_by_name(network.theta)
    name = "trials.0.networks.0.hidden.1"
    np.testing.assert_array_equal(state[f"{name}.linear.weight"].numpy(), parameters[1, "weight"].T)
    np.testing.assert_array_equal(state[f"{name}.norm.running_var"].numpy(), parameters[1, "variance"])


def test_padding_stays_in_place_when_sequences_are_reversed():
    import torch

    from rosenblatt.models.export.torch_layers import reverse

    a = torch.tensor([[1, 2, 3, 0], [1, 0, 0, 0], [1, 2, 3, 4]]).float()[..., None]
    expected = [[3, 2, 1, 0], [1, 0, 0, 0], [4, 3, 2, 1]]
    assert reverse(a, torch.tensor([3, 1, 4]))[..., 0].tolist() == expected


def test_padding_changes_no_prediction():
    import torch

    model = make_deep_model("lstm both ways")
    steps, lengths = torch_tensors(model, typed_rows().select("steps"))
    longer = torch.cat([steps, torch.full_like(steps, 7.0)], dim=1)  # of any content
    module = module_of(model)
    torch.testing.assert_close(module(longer, lengths), module(steps, lengths))


@pytest.mark.parametrize("name", ["relu", "residual batch norm", "layer norm, parametric, scaled"])
def test_training_goes_on(name):
    import torch

    model = make_dense_model(name, n_networks=1)
    module, tensors = module_of(model).train(), torch_tensors(model, typed_rows().select(model_columns(model)))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD((p for p in module.parameters() if p.requires_grad), lr=0.1)
    targets = torch.zeros(len(tensors[0]), dtype=torch.int64)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        logits = module.logits(*tensors)[0]
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in trained)
    tables = [p for p in module.parameters() if not p.requires_grad]  # of categories
    assert len(tables) == 1
    assert any(torch.equal(tables[0], old) for old in before if old.shape == tables[0].shape)


def test_batch_normalization_uses_the_batch_in_training_and_running_statistics_in_evaluation():
    import torch

    model = make_dense_model("residual batch norm", n_networks=1)
    module, tensors = module_of(model), torch_tensors(model, typed_rows().select(model_columns(model)))
    evaluated = module(*tensors)
    first_rows = module(*(tensor[:3] for tensor in tensors))
    torch.testing.assert_close(first_rows, evaluated[:3])
    assert not torch.allclose(module.train()(*tensors), evaluated)


def model_columns(model):
    return [column.name for column in model.schema.columns]
