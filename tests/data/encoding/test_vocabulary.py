"""Vocabularies of characters, words and subwords."""

import numpy as np
import pytest

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.errors import SpecError

TEXTS = ["The cat, the dog.", "the cow!", "a cat"]


@pytest.mark.parametrize("unit", ["characters", "words", "subwords"])
def test_texts_are_restored_from_their_tokens(unit):
    if unit == "subwords":
        pytest.importorskip("tokenizers")
    vocabulary = Vocabulary.fit(TEXTS, unit, 1000, 1)
    tokens = vocabulary.encode("the cat, the cow!")
    assert tokens.dtype == np.int32
    assert tokens.min() >= 1
    assert tokens.max() < vocabulary.size
    assert vocabulary.decode(tokens) == "the cat, the cow!"
    assert (
        Vocabulary.model_validate_json(vocabulary.model_dump_json()).encode("the cow").tolist()
        == vocabulary.encode("the cow").tolist()
    )


def test_unknown_and_rare_tokens_are_0():
    vocabulary = Vocabulary.fit(TEXTS, "words", 100, 2)
    assert vocabulary.tokens == ("cat", "the")
    assert vocabulary.encode("the zebra cat").tolist() == [2, 0, 1]
    assert Vocabulary.fit(TEXTS, "words", 1, 1).tokens == ("the",)
    characters = Vocabulary.fit(TEXTS, "characters", 100, 1)
    assert characters.encode("c☃")[1] == 0
    assert Vocabulary.fit([], "characters", 10, 1).encode("ab").tolist() == [0, 0]


def test_short_texts_are_read_by_characters_long_ones_by_words():
    assert Vocabulary.fit(["Anna", "Bo"], "auto", 100, 1).unit == "characters"
    assert Vocabulary.fit(["a long text of many words that goes on and on"], "auto", 100, 1).unit == "words"


def test_spans_are_the_positions_of_tokens_in_the_text():
    vocabulary = Vocabulary.fit(TEXTS, "words", 100, 1)
    assert [("The cat, a"[a:b]) for a, b in vocabulary.spans("The cat, a")] == ["The", "cat", ",", "a"]


def test_subwords_without_their_library_are_rejected_with_the_install_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(SpecError, match=r"pip install 'rosenblatt\[text\]'"):
        Vocabulary.fit(TEXTS, "subwords", 100, 1)
