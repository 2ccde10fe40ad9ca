"""Constructor arguments of the estimators: hyperparameters, `n_jobs` and `random_state`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.spec.fields import DEEP_KINDS, FORECASTING_HYPERPARAMETERS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, Hyperparameter

Estimator = TypeVar("Estimator", bound=type)

NOT_FOR_CLASSIFIERS = FORECASTING_HYPERPARAMETERS | {"target_transform"}
NOT_FOR_REGRESSORS = FORECASTING_HYPERPARAMETERS | {"class_weight", "logit_adjustment", "label_smoothing"}
_NOT_FOR_ESTIMATORS = {"kind", "test_fraction", "groups", "order", "weight", "on_damaged_images"}


def add_hyperparameters(kind: str, *, exclude: set[str]) -> Callable[[Estimator], Estimator]:
    """Make a class decorator that adds hyperparameters as keyword arguments, and documents them.

    Args:
        kind: kind of network, which selects the hyperparameters that apply to it.
        exclude: names of further hyperparameters to leave out.
    """
    included = [
        hyperparameter
        for hyperparameter in HYPERPARAMETERS.values()
        if hyperparameter.name not in exclude | _NOT_FOR_ESTIMATORS
        and hyperparameter.section != "search"
        and hyperparameter.applies_to(kind)
    ]
    defaults: dict[str, Any] = {_argument_name(hyperparameter): hyperparameter.default for hyperparameter in included}
    defaults |= {"n_jobs": None, "verbose": False}
    defaults |= {} if "warm_start" in exclude else {"warm_start": False}
    signature = inspect.Signature(
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name]) for name in defaults]
    )

    def decorate(cls: Estimator) -> Estimator:
        def __init__(self: Any, **hyperparameters: Any) -> None:  # noqa: N807 - the constructor of the class
            for name in hyperparameters:
                if name not in defaults:
                    raise TypeError(f"{cls.__name__} has no argument {name!r}.{did_you_mean(name, defaults)}")
            for name, value in (defaults | hyperparameters).items():
                setattr(self, name, value)

        vars(__init__)["__signature__"] = signature  # which scikit-learn reads for get_params
        cls.__init__ = __init__  # type: ignore[misc]
        cls.__doc__ = _add_arguments(inspect.cleandoc(cls.__doc__ or ""), included, kind, "warm_start" in defaults)
        return cls

    return decorate


def _argument_name(hyperparameter: Hyperparameter) -> str:
    return "random_state" if hyperparameter.name == "seed" else hyperparameter.name


def _add_arguments(docstring: str, hyperparameters: list[Hyperparameter], kind: str, has_warm_start: bool) -> str:
    """Insert the section Args before the section Attributes."""
    lines = [
        f"    {_argument_name(h)}: {h.help} Must be {h.expected}; default: {h.default!r}."
        + (f" ({h.source})" if h.source else "")
        for h in hyperparameters
    ]
    rounding = ", except for rounding if `cores` is auto" if kind in DEEP_KINDS else ""
    lines.append(
        "    n_jobs: Number of cores; None or -1 for all, at most OMP_NUM_THREADS. It does not change the "
        f"result{rounding}."
    )
    lines.append("    verbose: Whether to show a progress bar.")
    if has_warm_start:
        lines.append(
            "    warm_start: Whether `fit` continues from the networks and the encodings of the previous fit, with the "
            "same classes; the network and the loss cannot be changed then."
        )
    before, attributes, after = docstring.partition("Attributes:\n")
    return f"{before}Args:\n" + "\n".join(lines) + f"\n\n{attributes}{after}"


def resolve_n_jobs(n_jobs: int | None) -> int | None:
    """Convert joblib's `n_jobs` to a number of cores: -1 is all, -2 all but one; None stays None, for all."""
    if n_jobs == 0:
        raise SpecError("n_jobs must be a number of cores, or None or -1 for all cores, but it is 0.")
    return n_jobs if n_jobs is None or n_jobs > 0 else max(1, cores() + 1 + n_jobs)


def resolve_random_state(random_state: Any) -> int:
    """Convert scikit-learn's `random_state` to a seed: an integer, None for a random one, or a generator."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return random_state
