"""The OpenAPI description of the dashboard, from the models of its endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import Route

from rosenblatt.dashboard.endpoints import BINARY, JSON, PROBLEM, find_models

Json = dict[str, Any]
Models = type[BaseModel]
REFERENCE = "#/components/schemas/{model}"
ERRORS = {
    400: "The request cannot be read", 401: "The token is missing or wrong", 403: "The sender may not do this",
    404: "There is no such path, run or file", 405: "The path has other methods", 413: "The body is too large",
    415: "The type of the body is another", 421: "The Host is another server", 422: "The request cannot be used",
    503: "The store cannot be reached",
}  # fmt: skip


def make_openapi(routes: Iterable[Route], *, has_token: bool) -> Json:
    """Describe the paths whose endpoints take and give models."""
    described = [(route, models) for route in routes if (models := find_models(route.endpoint))]
    requests = {models.request for _, models in described}
    answers = {models.answer for _, models in described} - {bytes}
    modes: list[tuple[Models, JsonSchemaMode]] = [(model, "validation") for model in sorted(requests, key=_name)]
    modes += [(model, "serialization") for model in sorted(answers, key=_name)]
    references, definitions = models_json_schema(modes, ref_template=REFERENCE)
    paths: Json = {}
    for route, (request, answer) in described:
        method = "post" if "POST" in (route.methods or ()) else "get"
        schema = {"type": "string", "format": "binary"} if answer is bytes else references[answer, "serialization"]
        operation: Json = {
            "summary": _first_sentence(request if method == "post" else answer),
            "responses": {"200": _content("The answer", BINARY if answer is bytes else JSON, schema), **_problems()},
        }
        if method == "post":
            operation["requestBody"] = {"required": True, **_content(None, JSON, references[request, "validation"])}
        else:
            operation["parameters"] = _parameters(request, definitions.get("$defs", {}), route.path)
        paths.setdefault(re.sub(r":\w+}", "}", route.path), {})[method] = operation
    components: Json = {"schemas": definitions.get("$defs", {}), "responses": {"Problem": _problem()}}
    security: Json = {}
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        security = {"security": [{"token": []}]}
    info = {"title": "Rosenblatt dashboard", "version": version("rosenblatt")}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components, **security}


def _name(model: Models) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def _first_sentence(model: type[Any]) -> str:
    text = (model.__doc__ or "").strip().splitlines()
    return text[0] if text and model is not bytes else "Binary data"


def _content(description: str | None, media_type: str, schema: Json) -> Json:
    text = {"description": description} if description else {}
    return {**text, "content": {media_type: {"schema": schema}}}


def _parameters(query: Models, definitions: Json, path: str) -> list[Json]:
    """The parameters of a query, those in the path as such."""
    schema = query.model_json_schema(ref_template=REFERENCE)
    definitions |= schema.get("$defs", {})
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "path" if (is_path := f"{{{name}" in path) else "query",
            "required": is_path or name in required,
            "schema": part,
        }
        for name, part in schema.get("properties", {}).items()
    ]


def _problems() -> Json:
    return {str(status): {"$ref": "#/components/responses/Problem"} for status in ERRORS}


def _problem() -> Json:
    properties = {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}}
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return _content("Problem details (RFC 9457), with one sentence in `detail`", PROBLEM, schema)
