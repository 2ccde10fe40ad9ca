"""In: networks that tell the next token, and the tokens so far. Out: tokens that may follow, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rosenblatt.networks.deep import Deep
from rosenblatt.networks.layers import Recurrent
from rosenblatt.training.torch.engine import stacked


class Teller:
    """One network that reads a text token by token, and says after each how likely the next ones are."""

    def __init__(self, architecture: Deep, theta: np.ndarray) -> None:
        self._net, self._tower = stacked(architecture, theta), architecture.towers[0]
        self._states: list[Any] = [None] * len(self._tower)

    def read(self, tokens: Sequence[int]) -> np.ndarray:
        """(K,) float64 probabilities of what follows these tokens, after all that were read before."""
        with torch.inference_mode():
            a = torch.tensor([[list(tokens)]])
            number = count()
            for place, layer in enumerate(self._tower):
                if isinstance(layer, Recurrent):
                    first = next(number)
                    names = ("weight", "recurrent_weight", "bias", "recurrent_bias")
                    parts = [self._net.single[first, name] for name in names]
                    out, self._states[place] = self._net.fused(layer, a[0], parts, self._states[place])
                    a = out[None]
                else:
                    a = self._net.layer(layer, a, None, number, None, self._tower)
            head = cast("Deep", self._net.architecture).head
            z: Tensor = self._net.dense(head, a[:, :, -1], next(number), None)
            return z[0, 0].double().softmax(dim=-1).numpy()


def continued(
    networks: Sequence[tuple[Deep, np.ndarray]],
    prompt: Sequence[int],
    *,
    temperature: float,
    most_likely: int | None,
    share: float,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Tokens that may follow the prompt, without end; the networks' probabilities are averaged.

    Args:
        temperature: 0 takes the likeliest token; below 1 likely ones are preferred, above 1 unlikely ones.
        most_likely: draw only from so many (Fan et al. 2018).
        share: draw only from the likeliest that together are so likely (Holtzman et al. 2020).
    """
    tellers = [Teller(architecture, theta) for architecture, theta in networks]
    read: Sequence[int] = prompt
    while True:
        p = np.mean([teller.read(read) for teller in tellers], axis=0)
        p[0] = 0.0  # unknown tokens cannot be written
        if temperature == 0:
            token = int(p.argmax())
        else:
            p = (p / p.max()) ** (1 / temperature)
            order = np.argsort(-p, kind="stable")
            kept = order if most_likely is None else order[:most_likely]
            cumulated = np.cumsum(p[kept]) / p[kept].sum()
            kept = kept[: int(np.searchsorted(cumulated, share)) + 1]
            token = int(rng.choice(kept, p=p[kept] / p[kept].sum()))
        yield token
        read = [token]
