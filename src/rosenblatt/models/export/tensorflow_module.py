"""A model as a module of TensorFlow: a Keras model with lookup tables for strings, and numbers in float64."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rosenblatt.models.export.signature import CategoryInput, MediumInput, Signature
from rosenblatt.models.export.single_precision import REST

Tensor = Any


class ServedModel(tf.Module):
    """What a SavedModel holds. Its function `serve` takes tensors by name, and returns `predictions`."""

    def __init__(self, network: Any, signature: Signature) -> None:
        super().__init__(name="rosenblatt")
        self.network = network
        self.variables_of_network = network.variables
        self.tables = [_codes(column) for column in signature.categories]
        self.serve = tf.function(self._serve, input_signature=_specs(signature))
        self._names = signature.tensor_names

    def _serve(self, *tensors: Tensor) -> dict[str, Tensor]:
        inputs = dict(zip(self._names, tensors, strict=True))
        if "numbers" in inputs:
            numbers = inputs["numbers"]
            inputs["numbers"] = tf.cast(numbers, tf.float32)
            if REST in self.network.input:
                inputs[REST] = tf.cast(numbers - tf.cast(inputs["numbers"], tf.float64), tf.float32)
        if "categories" in inputs:
            cells = tf.unstack(inputs["categories"], num=len(self.tables), axis=1)
            codes = [table.lookup(column) for table, column in zip(self.tables, cells, strict=True)]
            inputs["categories"] = tf.stack(codes, axis=1)
        return {"predictions": self.network(inputs, training=False)}


def _codes(column: CategoryInput) -> tf.lookup.StaticHashTable:
    """Codes of strings: their position among the categories, then one for missing cells and one for others."""
    n = len(column.categories)
    keys, codes = tf.constant([*column.categories, ""]), tf.range(n + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, codes), default_value=n + 1)


def _specs(signature: Signature) -> list[tf.TensorSpec]:
    """The tensors of a signature; the numbers of rows and steps are not fixed."""
    specs = list[tf.TensorSpec]()
    if signature.numbers:
        specs.append(tf.TensorSpec([None, len(signature.numbers)], tf.float64, "numbers"))
    if signature.categories:
        specs.append(tf.TensorSpec([None, len(signature.categories)], tf.string, "categories"))
    for medium in signature.media:
        specs += _medium_specs(medium)
    return specs


def _medium_specs(medium: MediumInput) -> list[tf.TensorSpec]:
    encoding: Any = medium.encoding
    if medium.kind == "image":
        return [tf.TensorSpec([None, encoding.side, encoding.side, encoding.channels], tf.float32, medium.name)]
    n_steps = encoding.max_length if medium.is_fixed_length else None
    lengths = tf.TensorSpec([None], tf.int64, medium.lengths_name)
    if medium.kind == "text":
        return [tf.TensorSpec([None, n_steps], tf.int64, medium.name), lengths]
    return [tf.TensorSpec([None, n_steps, len(encoding.center)], tf.float32, medium.name), lengths]
