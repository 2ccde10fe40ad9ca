"""Generate text with a language model."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

from rosenblatt.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rosenblatt.models.model import Model


REPLACEMENT_CHARACTER = "\ufffd"  # stands for a character whose last bytes are not generated yet


def generate_text(
    model: Model, prompt: str, length: int, temperature: float, top_k: int | None, top_p: float, seed: int
) -> Iterator[str]:
    """Continue a prompt token by token, and yield the text in pieces.

    Args:
        model: a model of task `language`.
        prompt: text to continue; a line break if empty.
        length: number of tokens.
        temperature, top_k, top_p: see `generate_tokens`.
        seed: seed of the random numbers.

    Raises:
        TableError: for a model of another task.
    """
    import numpy as np

    from rosenblatt.data.encoding.media_encodings import TextEncoding
    from rosenblatt.networks.deep import DeepArchitecture
    from rosenblatt.training.torch.generation import generate_tokens

    if model.target.task != "language":
        raise TableError(
            f"Only language models generate text, but the task of this model is {model.target.task}. Fit one: "
            "rosenblatt fit book.txt --task language."
        )
    vocabulary = cast("TextEncoding", model.encoder.media_encodings[0]).vocabulary
    prompt_tokens = vocabulary.encode(prompt or "\n").tolist() or [0]
    networks = [(cast("DeepArchitecture", network.architecture), network.theta) for network in model.networks]
    tokens, emitted = list[int](), ""
    rng = np.random.default_rng(seed)
    generated = generate_tokens(networks, prompt_tokens, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng)
    for token in islice(generated, length):
        tokens.append(token)
        text = vocabulary.decode(tokens)
        if vocabulary.unit == "words" and prompt and text[:1].isalnum():
            text = f" {text}"
        if text.endswith(REPLACEMENT_CHARACTER) and len(tokens) < length:
            continue
        yield text[len(emitted) :]
        emitted = text
