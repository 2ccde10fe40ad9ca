"""The `data` section of a spec: how a table is split and encoded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import FOR_IMAGES, Auto, SpecSection, hyperparameter_field, parse_list


class DataSpec(SpecSection):
    """How the table is split and encoded."""

    groups: str = hyperparameter_field(
        "", "Column whose equal values stay on one side of every split, such as a patient's number; not learnt from."
    )
    order: str = hyperparameter_field(
        "", "Column of times or numbers: the test and every validation are on rows that come after those learnt from."
    )

    test_fraction: float = hyperparameter_field(
        0.2, "Share of the rows set aside for the test, never seen in training. 0 for none.", ge=0, lt=1
    )
    numeric_encoding: Literal["auto", "piecewise", "robust", "quantile", "standard", "none"] = hyperparameter_field(
        "auto",
        "Encoding of numbers: robust scaling with piecewise-linear parts, without them, quantiles of the normal "
        "distribution, mean 0 and variance 1, or as they are; auto is piecewise, and standard for a perceptron.",
        "Gorishniy et al. 2022 (piecewise); Holzmüller et al. 2024 (robust)",
    )
    bins: Annotated[int, Field(ge=2, le=1024)] | Auto = hyperparameter_field(
        "auto",
        "Most parts of the piecewise-linear encoding of a number.",
        "Gorishniy et al. 2022",
        requires={"numeric_encoding": ["auto", "piecewise"]},
    )
    max_categories: int = hyperparameter_field(
        64, "Most categories of a column that get an input of their own; the rarer ones share one.", ge=1
    )
    min_category_rows: int = hyperparameter_field(
        2, "Fewest training rows of a category with an input of its own.", ge=1
    )
    image_size: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto", "Pixels of the side of the squares that images are made; auto is that of the middle image, at most 96.",
        requires=FOR_IMAGES,
    )  # fmt: skip
    image_fit: Literal["resize", "crop", "pad"] = hyperparameter_field(
        "resize",
        "How images become squares: stretched, their middle cut out, or with black margins.",
        requires=FOR_IMAGES,
    )
    colors: Literal["auto", "grey", "color"] = hyperparameter_field(
        "auto", "Whether images are learnt from in grey or in color; auto is as they are.", requires=FOR_IMAGES
    )
    on_damaged_images: Literal["raise", "skip"] = hyperparameter_field(
        "raise",
        "What is done about images that cannot be read: refuse, or leave them out by name, up to 5 % of all.",
        requires=FOR_IMAGES,
    )
    tokens: Literal["auto", "characters", "words", "subwords"] = hyperparameter_field(
        "auto",
        "What texts are cut into; auto is characters for short texts, else words. Subwords need tokenizers.",
        "Sennrich, Haddow & Birch 2016 (subwords)",
        requires={"kind": ["cnn", "rnn"]},
    )
    max_vocabulary: int = hyperparameter_field(
        10_000, "Most different tokens; rarer ones count as unknown.", ge=1, requires={"kind": ["cnn", "rnn"]}
    )
    min_token_count: int = hyperparameter_field(
        2, "Fewest times that a token comes in the training rows.", ge=1, requires={"kind": ["cnn", "rnn"]}
    )
    max_length: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto",
        "Most steps or tokens of a row: the first of a text, the last of a sequence; auto cuts one row in a "
        "hundred, and at 1,000.",
        requires={"kind": ["cnn", "rnn"]},
    )
    time: str = hyperparameter_field("", "Column of times, to forecast what comes after them.")
    horizon: int = hyperparameter_field(1, "Steps to forecast, with time.", ge=1, le=10_000)
    window: Annotated[int, Field(ge=1, le=100_000)] | Auto = hyperparameter_field(
        "auto", "Steps that a forecast looks back; auto is three times the horizon, at least 24."
    )
    series: str = hyperparameter_field(
        "", "Column that names the series of a row, where a table to forecast holds several."
    )
    known_covariates: Annotated[tuple[str, ...], BeforeValidator(parse_list)] = hyperparameter_field(
        (), "Columns known in advance for the steps to forecast, such as holidays."
    )
    target_transform: Literal["auto", "none", "log"] = hyperparameter_field(
        "auto", "Transformation of a regression target before it is standardized; auto takes log when it is skewed."
    )
