"""Arguments of the estimators: hyperparameters as keyword arguments, `n_jobs` and `random_state`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.training.workers import cores

Estimator = TypeVar("Estimator", bound=type)

_EXCLUDED_HYPERPARAMETERS = {"kind", "test_fraction", "groups", "order", "on_damaged_images"}


def add_hyperparameters(kind: str, *, exclude: set[str]) -> Callable[[Estimator], Estimator]:
    """Give a class an `__init__` with the hyperparameters of the spec as keyword arguments, and their help."""
    included = [
        h
        for h in HYPERPARAMETERS.values()
        if h.name not in exclude | _EXCLUDED_HYPERPARAMETERS and h.section != "search"
    ]
    included = [h for h in included if h.applies_to(kind)]
    defaults: dict[str, Any] = {("random_state" if h.name == "seed" else h.name): h.default for h in included}
    defaults |= {"n_jobs": None, "verbose": False}
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        + [inspect.Parameter(name, keyword, default=value) for name, value in defaults.items()]
    )

    def decorate(cls: Estimator) -> Estimator:
        def __init__(self: Any, **hyperparameters: Any) -> None:  # noqa: N807 - it becomes the class's own
            for name in hyperparameters:
                if name not in defaults:
                    raise TypeError(f"{cls.__name__} has no argument {name!r}.{did_you_mean(name, defaults)}")
            for name, value in (defaults | hyperparameters).items():
                setattr(self, name, value)

        vars(__init__)["__signature__"] = signature
        cls.__init__ = __init__  # type: ignore[misc]
        lines = [
            f"    {'random_state' if h.name == 'seed' else h.name}: {h.help} Must be {h.expected}; {h.default} by "
            f"default.{f' ({h.source})' if h.source else ''}"
            for h in included
        ]
        rounding = ", but for rounding, where `cores` is left to be chosen" if kind in DEEP_KINDS else ""
        lines.append(f"    n_jobs: Cores to use; None for all. The result does not depend on it{rounding}.")
        lines.append("    verbose: Whether a progress bar is shown.")
        cls.__doc__ = f"{cls.__doc__}\n\nArgs:\n" + "\n".join(lines)
        return cls

    return decorate


def resolve_n_jobs(n_jobs: int | None) -> int | None:
    """Cores to use, as joblib counts them: -1 is all, -2 all but one."""
    if n_jobs == 0:
        raise SpecError("n_jobs must be a number of cores, -1 or None for all, but it is 0.")
    return n_jobs if n_jobs is None or n_jobs > 0 else max(1, cores() + 1 + n_jobs)


def resolve_random_state(random_state: Any) -> int:
    """A seed from what scikit-learn takes as one: a whole number, None for a new one, or a generator."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return random_state
