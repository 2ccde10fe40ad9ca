"""Generation of tokens by trained language models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import Recurrent
from rosenblatt.training.torch.engine import load_network
from rosenblatt.training.torch.recurrent import run_fused


class LanguageModel:
    """One network that reads tokens and predicts the next one."""

    def __init__(self, architecture: DeepArchitecture, theta: np.ndarray) -> None:
        self._net, self._tower = load_network(architecture, theta), architecture.towers[0]
        self._states: list[Any] = [None] * len(self._tower)

    def read(self, tokens: Sequence[int]) -> np.ndarray:
        """Read tokens after those read before; return the probabilities (K,) float64 of the next token."""
        with torch.inference_mode():
            a = torch.tensor([[list(tokens)]])
            layer_counter = count()
            for k, layer in enumerate(self._tower):
                if isinstance(layer, Recurrent):
                    index = next(layer_counter)
                    names = ("weight", "recurrent_weight", "bias", "recurrent_bias")
                    parts = [self._net.single[index, name] for name in names]
                    out, self._states[k] = run_fused(layer, a[0], parts, self._states[k])
                    a = out[None]
                else:
                    a = self._net.forward_layer(layer, a, None, layer_counter, None, self._tower)
            head = cast("DeepArchitecture", self._net.architecture).head
            z: Tensor = self._net.forward_dense(head, a[:, :, -1], next(layer_counter), None)
            return z[0, 0].double().softmax(dim=-1).numpy()


def generate_tokens(
    networks: Sequence[tuple[DeepArchitecture, np.ndarray]],
    prompt: Sequence[int],
    *,
    temperature: float,
    top_k: int | None,
    top_p: float,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Generate tokens after the prompt, without end, from the averaged probabilities of the networks.

    Args:
        temperature: 0 takes the most likely token; below 1 sharpens the probabilities, above 1 flattens them.
        top_k: sample from the k most likely tokens (Fan et al. 2018).
        top_p: sample from the smallest set of most likely tokens with this total probability (Holtzman et al. 2020).
    """
    models = [LanguageModel(architecture, theta) for architecture, theta in networks]
    new_tokens: Sequence[int] = prompt
    while True:
        p = np.mean([model.read(new_tokens) for model in models], axis=0)
        p[0] = 0.0  # the unknown token has no text
        if temperature == 0:
            token = int(p.argmax())
        else:
            p = (p / p.max()) ** (1 / temperature)
            order = np.argsort(-p, kind="stable")
            candidates = order if top_k is None else order[:top_k]
            cumulative = np.cumsum(p[candidates]) / p[candidates].sum()
            candidates = candidates[: int(np.searchsorted(cumulative, top_p)) + 1]
            token = int(rng.choice(candidates, p=p[candidates] / p[candidates].sum()))
        yield token
        new_tokens = [token]
