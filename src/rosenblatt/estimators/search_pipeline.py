"""Search of the network at the end of a Pipeline, whose other steps are fitted on the training rows of each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable

from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.estimators.base import BaseNetworkEstimator
from rosenblatt.estimators.inputs import make_dataset, schema_from_frame
from rosenblatt.models.fold_data import FoldDatasets, FoldPreparedData
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import SHAPE_DIMENSIONS, Choice, Integer, LogUniform, Uniform
from rosenblatt.spec.fields import DEEP_KINDS


class Subspace(NamedTuple):
    """Space of the network, with fixed parameters of the steps before it, by their names in the pipeline."""

    space: Mapping[str, Any]
    step_params: Mapping[str, Any]


class SearchedPipeline:
    """A pipeline with a network as its last step.

    Raises:
        TypeError: if the last step is not a network for tables.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        name, network = pipeline.steps[-1]
        if not isinstance(network, BaseNetworkEstimator) or network._kind in DEEP_KINDS:
            raise TypeError(
                "The last step of a Pipeline that is searched must be MLPClassifier, MLPRegressor or Perceptron, but "
                f"it is {type(network).__name__}."
            )
        self.network: BaseNetworkEstimator = clone(network).set_params(members="auto")  # members are for the last fit
        self.prefix = f"{name}__"
        self._pipeline = pipeline
        self._steps = Pipeline(pipeline.steps[:-1] or [("passthrough", "passthrough")], memory=pipeline.memory)

    def split_spaces(self, spaces: Sequence[Mapping[str, Any]]) -> list[Subspace]:
        """Split spaces of the pipeline into one space of the network per combination of parameters of other steps.

        Raises SpecError for unknown parameters, and for those of other steps that are not lists of choices.
        """
        names = {*self._pipeline.get_params()} - {*self._pipeline.get_params(deep=False), self.prefix[:-2]}
        names |= {f"{self.prefix}{name}" for name in SHAPE_DIMENSIONS}
        subspaces = []
        for space in spaces:
            for name in space:
                if name not in names:
                    raise SpecError(
                        f"The pipeline has no parameter {name!r} to search.{did_you_mean(name, sorted(names))}"
                    )
            of_network = {n.removeprefix(self.prefix): v for n, v in space.items() if n.startswith(self.prefix)}
            if space and not of_network:  # without a dimension, the default space would be searched
                of_network = {"batch_order": [self.network.batch_order]}
            of_steps = {n: _choices(n, value) for n, value in space.items() if not n.startswith(self.prefix)}
            subspaces += [
                Subspace(of_network, dict(zip(of_steps, values, strict=True))) for values in product(*of_steps.values())
            ]
        return subspaces

    def prepare(
        self,
        step_params: Mapping[str, Any],
        X: Any,
        y: Any,
        prepared: PreparedData,
        has_weight: np.ndarray | None,
        folds: Sequence[Fold],
    ) -> FoldPreparedData:
        """Fit the steps on the training rows of each fold, and transform both parts of it.

        Args:
            step_params: parameters of the steps.
            X, y: all rows, as given.
            prepared: the targets and weights of the rows with nonzero weight.
            has_weight: mask of these rows, or None for all.
            folds: row numbers in `prepared`.
        """
        X, y = indexable(X, y)
        rows, data = np.arange(len(y)) if has_weight is None else np.flatnonzero(has_weight), prepared.data
        datasets, form = list[FoldDatasets](), None
        for fold in folds:
            steps, network = clone(clone(self._steps).set_params(**step_params)), clone(self.network)
            part_X, part_y = ([_safe_indexing(values, rows[part]) for part in fold] for values in (X, y))
            train_X = steps.fit_transform(part_X[0], part_y[0])
            form = train_X if form is None else form
            train = network._frame(_in_form(train_X, form), reset=True)
            schema = schema_from_frame(train, train, keeps_sparse=network._keeps_sparse)
            validation = network._frame(_in_form(steps.transform(part_X[1]), form), reset=False, schema=schema)
            weights = [None if data.weight is None else data.weight[part] for part in fold]
            datasets.append(
                FoldDatasets(
                    make_dataset(train, schema, data.y[fold.train], weights[0]),
                    make_dataset(validation, schema, data.y[fold.validation], weights[1]),
                )
            )
        return FoldPreparedData(datasets, prepared.target)

    def refit(self, scoring: Any, X: Any, y: Any, sample_weight: Any, params: Mapping[str, Any]) -> Pipeline:
        """Fit a pipeline with these parameters on all rows."""
        pipeline = clone(clone(self._pipeline).set_params(**params, **{f"{self.prefix}scoring": scoring}))
        weights = {} if sample_weight is None else {f"{self.prefix}sample_weight": sample_weight}
        return pipeline.fit(X, y, **weights)


def _in_form(rows: Any, other: Any) -> Any:
    """Rows as a sparse matrix if the others are one, and else dense: some steps choose by the density of the rows."""
    if issparse(rows) == issparse(other):
        return rows
    return rows.toarray() if issparse(rows) else csr_array(rows)


def _choices(name: str, value: Any) -> list[Any]:
    """The values of a parameter of a step before the network."""
    if isinstance(value, Choice):
        return list(value.values)
    if isinstance(value, Uniform | LogUniform | Integer) or hasattr(value, "rvs"):
        raise SpecError(
            f"{name} is a parameter of a step before the network, which needs a list of choices, but it is {value!r}. "
            "Give a list of values; each combination of them is searched as a space of its own."
        )
    return list(value) if isinstance(value, list | range | np.ndarray) and len(value) else [value]
