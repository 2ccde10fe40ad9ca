"""The OpenAPI description of a server, derived from the schemas of its models."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from rosenblatt.serving.bodies import ARROW_FILE, ARROW_STREAM, FORM, JSON
from rosenblatt.serving.cells import FieldKind
from rosenblatt.serving.fields import Field
from rosenblatt.serving.generation import GenerationOptions
from rosenblatt.serving.served_model import ServedModel

Json = dict[str, Any]
MAX_FLOAT = 1.7976931348623157e308
PROBLEM = "application/problem+json"
_ERRORS = {
    400: "The body cannot be parsed", 401: "The token is missing or wrong", 403: "The Origin is another site",
    404: "There is no such model", 405: "The path has other methods", 408: "The body did not arrive in time",
    413: "The body is too large", 415: "The type of the body is unknown", 421: "The Host is another server",
    422: "The rows do not fit the model", 503: "The server stops, or too many requests wait",
}  # fmt: skip
_STRING: Json = {"type": "string"}
_NOTES: Json = {"type": "array", "items": _STRING, "description": "What was unusual about the rows"}


def make_openapi(models: Iterable[ServedModel], *, has_token: bool) -> Json:
    """Describe all paths of a server."""
    models = list(models)
    paths: Json = {
        "/healthz": _get("Whether the process runs", {"text/plain": _STRING}),
        "/readyz": _get("Whether requests are answered", {"text/plain": _STRING}),
        "/metrics": _get("Metrics for Prometheus", {"text/plain": _STRING}),
        "/v1/models": _get("All models", {JSON: {"type": "object", "required": ["models"]}}),
    }
    for model in models:
        path = f"/v1/models/{quote(model.name, safe='')}"
        paths[path] = _get(f"The model {model.name}", {JSON: {"type": "object", "required": ["name", "fields"]}})
        if model.is_language:
            paths[f"{path}/generate"] = {"post": _generate_operation(model)}
            continue
        paths[f"{path}/predict"] = {"post": _predict_operation(model)}
        if model.can_explain:
            paths[f"{path}/explain"] = {"post": _explain_operation(model)}
        if len(models) == 1:
            paths["/predict"] = paths[f"{path}/predict"]
    description: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Predictions by Rosenblatt", "version": version("rosenblatt")},
        "paths": paths,
        "components": {
            "schemas": {"Problem": {"type": "object", "required": ["title", "status", "detail"]}},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return description | ({"security": [{"token": []}]} if has_token else {})


def _get(summary: str, content: Json) -> Json:
    answer = {"description": summary, "content": {name: {"schema": schema} for name, schema in content.items()}}
    return {"get": {"summary": summary, "responses": {"200": answer, **_error_responses(401, 403, 421, 503)}}}


def _error_responses(*statuses: int) -> Json:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": _ERRORS[status], "content": content} for status in statuses}


def _post(summary: str, content: Json, answer: Json) -> Json:
    errors = _error_responses(400, 401, 403, 404, 408, 413, 415, 421, 422, 503)
    responses = {"200": {"description": "The result", "content": answer}, **errors}
    return {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}


def row_schema(model: ServedModel) -> Json:
    """The schema of a row: an object with a value for each field. Further fields are ignored, with a note."""
    return {
        "type": "object",
        "required": model.fields.names,
        "properties": {field.name: field_schema(field) for field in model.fields.fields},
    }


def field_schema(field: Field) -> Json:
    """The schema of a cell."""
    schema = {"description": field.cells.expected, "examples": [field.example], **_SCHEMAS.get(field.kind, {})}
    if field.kind == "category" and field.categories:
        schema["examples"] = list(field.categories[:20])
        schema["description"] += f"; in training: {', '.join(field.categories[:100])}"
        if field.has_other or len(field.categories) > 100:
            schema["description"] += ", and others"
    if field.kind == "number" and field.range:
        schema["description"] += f"; in training from {field.range[0]:g} to {field.range[1]:g}"
    if field.kind == "boolean":
        schema["anyOf"] = [{"type": ["boolean", "null"]}, {"enum": list(field.cells.pair)}]
    if field.kind == "sequence":
        number = {"type": ["number", "null"], "minimum": -3e38, "maximum": 3e38}
        size = field.cells.channels
        steps = {"type": "array", "items": number, "minItems": size, "maxItems": size} if size > 1 else number
        schema |= {"type": ["array", "null"], "items": steps}
    return schema


_SCHEMAS: dict[FieldKind, Json] = {
    "number": {"type": ["number", "null"], "minimum": -MAX_FLOAT, "maximum": MAX_FLOAT},
    "category": {"type": ["string", "integer", "null"]},
    "date": {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"},
                       {"type": "null"}]},
    "time": {"type": ["string", "null"], "format": "time"},
    "image": {"type": "string", "contentEncoding": "base64"},
    "text": {"type": ["string", "null"]},
}  # fmt: skip


def _predict_operation(model: ServedModel) -> Json:
    row, example = row_schema(model), model.example
    cells = {name: {"type": "array", "items": schema} for name, schema in row["properties"].items()}
    columns = {"type": "object", "required": model.fields.names, "properties": cells}
    json_body = {
        "schema": {
            "oneOf": [
                {"type": "object", "required": ["rows"], "additionalProperties": False,
                 "properties": {"rows": {"type": "array", "minItems": 1, "items": row}}},
                {"type": "object", "required": ["columns"], "additionalProperties": False,
                 "properties": {"columns": columns}},
            ]
        },
        "examples": {
            "rows": {"value": {"rows": [example]}},
            "columns": {"value": {"columns": {name: [cell] for name, cell in example.items()}}},
        },
    }  # fmt: skip
    arrow = {"schema": {"type": "string", "contentMediaType": ARROW_STREAM}}
    form = {"schema": {"type": "object", "required": model.fields.names}}
    content = {JSON: json_body, ARROW_STREAM: arrow, ARROW_FILE: arrow, FORM: form}
    predictions: Json = {"oneOf": [{"type": "array", "items": {"type": "object"}}, {"type": "object"}]}
    answer = {JSON: {"schema": _answer_schema({"predictions": predictions, "notes": _NOTES})}, ARROW_STREAM: arrow}
    return _post(f"Predict {' and '.join(model.model.target.names)}", content, answer)


def _explain_operation(model: ServedModel) -> Json:
    body = {
        "type": "object", "required": ["rows"], "additionalProperties": False,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "maxItems": 1, "items": row_schema(model)},
            "answer": {"type": ["string", "null"], "description": "Class, label or target to explain"},
        },
    }  # fmt: skip
    answer = _answer_schema({"output": _STRING, "value": {"type": "number"}, "effects": {"type": "array"}})
    content = {JSON: {"schema": body, "examples": {"row": {"value": {"rows": [model.example]}}}}}
    return _post("Explain the prediction for a row: which columns matter", content, {JSON: {"schema": answer}})


def _generate_operation(model: ServedModel) -> Json:
    content = {JSON: {"schema": GenerationOptions.model_json_schema()}}
    return _post(f"Continue a prompt with {model.name}", content, {JSON: {"schema": _answer_schema({"text": _STRING})}})


def _answer_schema(properties: Json) -> Json:
    head: Json = {"model": _STRING, "version": _STRING}
    return {"type": "object", "required": [*head, *properties], "properties": head | properties}
