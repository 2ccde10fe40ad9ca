"""Description of models and optimizers of PyTorch, Keras and scikit-learn."""

from __future__ import annotations

import sys
from typing import Any

from rosenblatt.errors import RunError


def describe_model(model: Any, optimizer: Any = None) -> tuple[dict[str, Any], str]:
    """Return the hyperparameters of a model and its optimizer, and a summary of the model. Raises RunError."""
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):
        lines: list[str] = []
        if model.built:
            model.summary(print_fn=lambda line, **_: lines.append(line))
        keras_optimizer = optimizer if optimizer is not None else getattr(model, "optimizer", None)
        params = _keras_optimizer_params(keras_optimizer) if keras_optimizer is not None else {}
        if model.built:
            params["parameters"] = model.count_params()
        return {"model": type(model).__name__, **params}, "\n".join(lines)
    if torch is not None and isinstance(model, torch.nn.Module):
        count = sum(parameter.numel() for parameter in model.parameters())
        return {"model": type(model).__name__, "parameters": count, **_torch_optimizer_params(optimizer)}, str(model)
    if hasattr(model, "get_params"):
        params = {name: value for name, value in model.get_params().items() if _is_builtin(value)}
        return {"model": type(model).__name__, **params}, repr(model)
    raise RunError(f"Expected a model of PyTorch, Keras or scikit-learn, but got {type(model).__name__}.")


def _torch_optimizer_params(optimizer: Any) -> dict[str, Any]:
    if optimizer is None:
        return {}
    params: dict[str, Any] = {"optimizer": type(optimizer).__name__}
    for index, group in enumerate(optimizer.param_groups):
        suffix = "" if index == 0 else f" of group {index}"
        params |= {f"{name}{suffix}": value for name, value in group.items() if name != "params" and _is_builtin(value)}
    return params


def _keras_optimizer_params(optimizer: Any) -> dict[str, Any]:
    settings = {**optimizer.get_config(), "name": type(optimizer).__name__}
    params = {"optimizer": settings.pop("name")}
    if not isinstance(settings.get("learning_rate"), float | int):
        settings["learning_rate"] = str(settings.get("learning_rate"))
    return params | {name: value for name, value in settings.items() if _is_builtin(value)}


def _is_builtin(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_builtin(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
