"""Continue a prompt with a language model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rosenblatt.models.model import Model
from rosenblatt.web.errors import unprocessable
from rosenblatt.workflows.generate import generate_text

MAX_TOKENS = 2000


class GenerationOptions(BaseModel):
    """The body of a request to continue a prompt; see `generate_tokens`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: str = Field("", description="Text to continue.")
    length: int = Field(100, ge=1, le=MAX_TOKENS, description="Number of tokens.")
    temperature: float = Field(0.8, ge=0, le=100, description="0 takes the most likely token each time.")
    top_k: int | None = Field(None, ge=1, description="Draw from the k most likely tokens.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw from the most likely tokens of this total probability.")
    seed: int = Field(0, ge=0, lt=2**32, description="Equal seeds give equal texts.")

    @classmethod
    def parse(cls, value: Any) -> GenerationOptions:
        """Check the body of a request. Raises RequestError."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = ".".join(map(str, problem["loc"]))
            subject = f"{name!r} is wrong" if name else "The body is wrong"
            detail = f"{subject}: {problem['msg']}. A body may hold {', '.join(cls.model_fields)}."
            raise unprocessable(detail, **({"field": name} if name else {})) from None


def generate(model: Model, options: GenerationOptions) -> str:
    """Continue the prompt. Raises TableError for models of other tasks."""
    return "".join(
        generate_text(
            model, options.prompt, options.length, options.temperature, options.top_k, options.top_p, options.seed
        )
    )
