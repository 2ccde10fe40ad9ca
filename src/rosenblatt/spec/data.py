"""The `data` section of a spec: how a table is split and encoded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import IMAGES, Auto, Section, described, split


class DataSpec(Section):
    """How the table is split and encoded."""

    groups: str = described(
        "", "Column whose equal values stay on one side of every split, such as a patient's number; not learnt from."
    )
    order: str = described(
        "", "Column of times or numbers: the test and every validation are on rows that come after those learnt from."
    )

    test_fraction: float = described(
        0.2, "Share of the rows set aside for the test, never seen in training. 0 for none.", ge=0, lt=1
    )
    numbers: Literal["auto", "piecewise", "robust", "quantile", "standard", "none"] = described(
        "auto",
        "Encoding of numbers: robust scaling with piecewise-linear parts, without them, quantiles of the normal "
        "distribution, mean 0 and variance 1, or as they are; auto is piecewise, and standard for a perceptron.",
        "Gorishniy et al. 2022 (piecewise); Holzmüller et al. 2024 (robust)",
    )
    bins: Annotated[int, Field(ge=2, le=1024)] | Auto = described(
        "auto",
        "Most parts of the piecewise-linear encoding of a number.",
        "Gorishniy et al. 2022",
        only={"numbers": ["auto", "piecewise"]},
    )
    max_categories: int = described(
        64, "Most categories of a column that get an input of their own; the rarer ones share one.", ge=1
    )
    min_category_rows: int = described(2, "Fewest training rows of a category with an input of its own.", ge=1)
    image_size: Annotated[int, Field(ge=1, le=4096)] | Auto = described(
        "auto", "Pixels of the side of the squares that images are made; auto is that of the middle image, at most 96.",
        only=IMAGES,
    )  # fmt: skip
    image_fit: Literal["resize", "crop", "pad"] = described(
        "resize", "How images become squares: stretched, their middle cut out, or with black margins.", only=IMAGES
    )
    colors: Literal["auto", "grey", "color"] = described(
        "auto", "Whether images are learnt from in grey or in color; auto is as they are.", only=IMAGES
    )
    damaged: Literal["raise", "skip"] = described(
        "raise",
        "What is done about images that cannot be read: refuse, or leave them out by name, up to 5 % of all.",
        only=IMAGES,
    )
    tokens: Literal["auto", "characters", "words", "subwords"] = described(
        "auto",
        "What texts are cut into; auto is characters for short texts, else words. Subwords need tokenizers.",
        "Sennrich, Haddow & Birch 2016 (subwords)",
        only={"kind": ["cnn", "rnn"]},
    )
    vocabulary: int = described(
        10_000, "Most different tokens; rarer ones count as unknown.", ge=1, only={"kind": ["cnn", "rnn"]}
    )
    min_token_count: int = described(
        2, "Fewest times that a token comes in the training rows.", ge=1, only={"kind": ["cnn", "rnn"]}
    )
    max_length: Annotated[int, Field(ge=1)] | Auto = described(
        "auto",
        "Most steps or tokens of a row: the first of a text, the last of a sequence; auto cuts one row in a "
        "hundred, and at 1,000.",
        only={"kind": ["cnn", "rnn"]},
    )
    time: str = described("", "Column of times, to forecast what comes after them.")
    horizon: int = described(1, "Steps to forecast, with time.", ge=1, le=10_000)
    window: Annotated[int, Field(ge=1, le=100_000)] | Auto = described(
        "auto", "Steps that a forecast looks back; auto is three times the horizon, at least 24."
    )
    series: str = described("", "Column that names the series of a row, where a table to forecast holds several.")
    known: Annotated[tuple[str, ...], BeforeValidator(split)] = described(
        (), "Columns known in advance for the steps to forecast, such as holidays."
    )
    target_transform: Literal["auto", "none", "log"] = described(
        "auto", "Transformation of a regression target before it is standardized; auto takes log when it is skewed."
    )
