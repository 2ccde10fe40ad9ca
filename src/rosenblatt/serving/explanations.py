"""Explanations of predictions: the effects of columns, and of the parts of images, texts and sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from rosenblatt.inspection.column_effects import column_effects
from rosenblatt.models.model import Model
from rosenblatt.serving.fields import CheckedRows
from rosenblatt.serving.predictions import require_finite

METHOD = (
    "effect: output for the row minus output with the typical value; parts: integrated gradients, positive values "
    "support the answer"
)


def explain(model: Model, rows: CheckedRows, answer: str | None) -> dict[str, Any]:
    """Explain the prediction for one row, as JSON-serializable data.

    Raises TableError for an unknown answer, and RequestError if the row has no finite prediction.
    """
    values = rows.values
    if isinstance(values, np.ndarray):
        values = pl.DataFrame(values, schema=[column.name for column in model.schema.input_columns])
    with np.errstate(all="ignore"):  # what is not finite is refused
        require_finite(model.predict_raw(values))
        effects = column_effects(model, values, answer)
        require_finite(np.array([[effects.value, *(effect.effect for effect in effects.effects)]]))
    return {
        "output": effects.output,
        "value": effects.value,
        "effects": [{"column": e.column, "effect": e.effect, "typical": e.typical} for e in effects.effects],
        "parts": _explain_parts(model, values, answer) if model.encoder.media_encodings else [],
        "method": METHOD,
        "notes": list(rows.notes),
    }


def _explain_parts(model: Model, frame: pl.DataFrame, answer: str | None) -> list[dict[str, Any]]:
    from rosenblatt.inspection.torch_attribution import explain_row

    explanation = explain_row(model, frame, 1, answer=answer)
    return [
        {"column": part.column, "kind": part.kind, "tokens": list(part.tokens), "values": part.values.tolist()}
        for part in explanation.attributions
    ]
