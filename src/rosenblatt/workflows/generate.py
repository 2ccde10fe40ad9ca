"""Generate text with a language model."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

from rosenblatt.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rosenblatt.models.model import Model


UNFINISHED = "\ufffd"  # what stands for a character of which not all bytes are written


def written(
    model: Model, prompt: str, length: int, temperature: float, top_k: int | None, top_p: float, seed: int
) -> Iterator[str]:
    """The text piece by piece. Raises TableError for a model that learnt no language."""
    import numpy as np

    from rosenblatt.data.encoding.media_encodings import TextEncoding
    from rosenblatt.networks.deep import Deep
    from rosenblatt.training.torch.generation import continued

    if model.target.task != "language":
        raise TableError(
            f"This model learnt {model.target.task}, not a language. Fit one: rosenblatt fit book.txt --task language."
        )
    vocabulary = cast("TextEncoding", model.encoder.perceived[0]).vocabulary
    begun = vocabulary.encode(prompt or "\n").tolist() or [0]
    networks = [(cast("Deep", network.architecture), network.theta) for network in model.networks]
    tokens, said = list[int](), ""
    rng = np.random.default_rng(seed)
    drawn = continued(networks, begun, temperature=temperature, most_likely=top_k, share=top_p, rng=rng)
    for token in islice(drawn, length):
        tokens.append(token)
        whole = vocabulary.decode(tokens)
        if vocabulary.unit == "words" and prompt and whole[:1].isalnum():
            whole = f" {whole}"
        if whole.endswith(UNFINISHED) and len(tokens) < length:
            continue
        yield whole[len(said) :]
        said = whole
