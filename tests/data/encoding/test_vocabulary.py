"""Vocabularies of characters, words and subwords."""

import numpy as np
import pytest

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.errors import SpecError

TEXTS = ["The cat, the dog.", "the cow!", "a cat"]


@pytest.mark.parametrize("unit", ["characters", "words", "subwords"])
def test_texts_come_back_from_their_tokens(unit):
    if unit == "subwords":
        pytest.importorskip("tokenizers")
    known = Vocabulary.learn(TEXTS, unit, 1000, 1)
    tokens = known.encode("the cat, the cow!")
    assert tokens.dtype == np.int32
    assert tokens.min() >= 1
    assert tokens.max() < known.size
    assert known.decode(tokens) == "the cat, the cow!"
    assert (
        Vocabulary.model_validate_json(known.model_dump_json()).encode("the cow").tolist()
        == known.encode("the cow").tolist()
    )


def test_unknown_tokens_are_0_and_rare_ones_unknown():
    known = Vocabulary.learn(TEXTS, "words", 100, 2)
    assert known.tokens == ("cat", "the")
    assert known.encode("the zebra cat").tolist() == [2, 0, 1]
    assert Vocabulary.learn(TEXTS, "words", 1, 1).tokens == ("the",)
    letters = Vocabulary.learn(TEXTS, "characters", 100, 1)
    assert letters.encode("c☃")[1] == 0
    assert Vocabulary.learn([], "characters", 10, 1).encode("ab").tolist() == [0, 0]


def test_short_texts_are_read_by_characters_long_ones_by_words():
    assert Vocabulary.learn(["Anna", "Bo"], "auto", 100, 1).unit == "characters"
    assert Vocabulary.learn(["a long text of many words that goes on and on"], "auto", 100, 1).unit == "words"


def test_tokens_stand_where_they_do_in_the_text():
    known = Vocabulary.learn(TEXTS, "words", 100, 1)
    assert [("The cat, a"[a:b]) for a, b in known.spans("The cat, a")] == ["The", "cat", ",", "a"]


def test_subwords_without_their_library_are_refused_with_the_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(SpecError, match=r"pip install 'rosenblatt\[text\]'"):
        Vocabulary.learn(TEXTS, "subwords", 100, 1)
