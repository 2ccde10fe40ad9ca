"""In: texts to learn from. Out: a vocabulary of characters, words or subwords, and texts as numbers of its tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from rosenblatt.errors import SpecError

Unit = Literal["characters", "words", "subwords"]
UNKNOWN = 0  # the token of what training never had
SHORT = 40  # characters of the middle text up to which characters are the tokens
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


class Vocabulary(BaseModel):
    """The tokens there are, numbered from 1; 0 stands for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Unit
    tokens: tuple[str, ...]
    merges: str = ""  # of subwords: the description of the tokenizer, as JSON

    @classmethod
    def learn(cls, texts: Sequence[str], unit: Unit | Literal["auto"], most: int, fewest: int) -> Vocabulary:
        """The most frequent tokens of these texts; those that come less often than `fewest` times are left out."""
        if unit == "auto":
            middle = np.median([len(text) for text in texts]) if texts else 0
            unit = "characters" if middle <= SHORT else "words"
        if unit == "subwords":
            tokenizer = _trained(texts, most)
            known = tokenizer.get_vocab()
            return cls(unit=unit, tokens=tuple(sorted(known, key=known.__getitem__)), merges=tokenizer.to_str())
        counts = Counter[str]()
        for text in texts:
            counts.update(text if unit == "characters" else _words(text))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        return cls(unit=unit, tokens=tuple(sorted(token for token, count in ranked if count >= fewest)))

    @property
    def size(self) -> int:
        """Tokens there are, with that for unknown ones."""
        return len(self.tokens) + 1

    @cached_property
    def _number(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, 1)}

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        """Code points of the characters in order, and their numbers."""
        points = np.array([ord(token) for token in self.tokens], np.uint32)
        order = np.argsort(points)
        return points[order], (order + 1).astype(np.int32)

    def encode(self, text: str) -> np.ndarray:
        """(T,) int32: the tokens of a text."""
        if self.unit == "subwords":
            return np.array(_tokenizer(self.merges).encode(text).ids, np.int32) + 1
        if self.unit == "words":
            return np.array([self._number.get(word, UNKNOWN) for word in _words(text)], np.int32)
        points, numbers = self._points
        said = np.frombuffer(text.encode("utf-32-le", errors="replace"), np.uint32)
        if not points.size:
            return np.zeros(said.size, np.int32)
        place = np.minimum(np.searchsorted(points, said), points.size - 1)
        return np.where(points[place] == said, numbers[place], UNKNOWN).astype(np.int32)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text begins and ends in it."""
        if self.unit == "subwords":
            return list(_tokenizer(self.merges).encode(text).offsets)
        if self.unit == "characters":
            return [(place, place + 1) for place in range(len(text))]
        return [match.span() for match in WORD.finditer(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that tokens make; what is unknown is left out."""
        known = [int(token) for token in tokens if token != UNKNOWN]
        if self.unit == "subwords":
            return str(_tokenizer(self.merges).decode([token - 1 for token in known]))
        words = [self.tokens[token - 1] for token in known]
        if self.unit == "characters":
            return "".join(words)
        return re.sub(r"\s+([.,;:!?)\]}’'])", r"\1", " ".join(words))


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def _tokenizers() -> Any:
    try:
        return import_module("tokenizers")
    except ImportError:
        raise SpecError(
            "Subwords need the library tokenizers. Install it with pip install 'rosenblatt[text]', or choose tokens "
            "words or characters."
        ) from None


def _trained(texts: Sequence[str], most: int) -> Any:
    """Byte pairs that come together most, merged (Sennrich et al. 2016), over bytes, so that nothing is unknown."""
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=max(most, len(alphabet)), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@lru_cache(maxsize=16)
def _tokenizer(described: str) -> Any:
    return _tokenizers().Tokenizer.from_str(described)
