"""The `data` section of a spec: how a table is split and encoded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import FOR_CNN_AND_RNN, FOR_IMAGES, Auto, SpecSection, hyperparameter_field, parse_list


class DataSpec(SpecSection):
    """Splitting and encoding of the table."""

    groups: str = hyperparameter_field(
        "",
        "Column that groups rows, such as a patient ID: rows with equal values stay together in every split. "
        "It is not used as an input.",
    )
    order: str = hyperparameter_field(
        "", "Column of numbers, times or words with a number: validation and test rows come after the training rows."
    )

    weight: str = hyperparameter_field(
        "",
        "Column of sample weights, such as those of a survey: numbers of 0 or more by which rows count in training, "
        "validation and test scores. It is not used as an input.",
    )

    test_fraction: float = hyperparameter_field(
        0.2, "Fraction of the rows held out for the test and never used in training; 0 holds out none.", ge=0, lt=1
    )
    numeric_encoding: Literal["auto", "piecewise", "robust", "quantile", "standard", "none"] = hyperparameter_field(
        "auto",
        "Encoding of numeric columns: robust scaling with piecewise-linear bins (piecewise), robust scaling alone, "
        "quantiles of a normal distribution, standardization, or none. auto is piecewise for mlp "
        "with at most 100 columns of numbers, standard for perceptron, else robust.",
        "Gorishniy et al. 2022 (piecewise); Holzmüller et al. 2024 (robust)",
    )
    bins: Annotated[int, Field(ge=2, le=1024)] | Auto = hyperparameter_field(
        "auto",
        "Maximum number of bins of the piecewise-linear encoding of a column. auto is 16 below 5,000 training rows, "
        "else 48, and fewer if the encoded table would exceed 1 GiB.",
        "Gorishniy et al. 2022",
        requires={"numeric_encoding": ["auto", "piecewise"]},
    )
    max_categories: int = hyperparameter_field(
        64, "Maximum number of categories of a column with an input of their own; rarer ones share one input.", ge=1
    )
    min_category_rows: int = hyperparameter_field(
        2, "Minimum number of training rows of a category with an input of its own.", ge=1
    )
    image_size: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto", "Side length, in pixels, of the squares that images become. auto is the median of the shorter sides, "
        "at most 96.", requires=FOR_IMAGES,
    )  # fmt: skip
    image_fit: Literal["resize", "crop", "pad"] = hyperparameter_field(
        "resize",
        "How images become square: stretched (resize), cut to the center (crop), or with black margins (pad).",
        requires=FOR_IMAGES,
    )
    colors: Literal["auto", "grey", "color"] = hyperparameter_field(
        "auto", "Convert images to grey or to color; auto keeps them as they are.", requires=FOR_IMAGES
    )
    on_damaged_images: Literal["raise", "skip"] = hyperparameter_field(
        "raise",
        "What to do with images that cannot be read: stop with an error, or skip them and list their names (up to 5% "
        "of all images).",
        requires=FOR_IMAGES,
    )
    shuffle_window_gb: float = hyperparameter_field(
        4.0,
        "Gigabytes of the images of a volume that are shuffled together: packs in random order form windows of this "
        "size, in which images are in random order. Volumes that are smaller are shuffled as a whole.",
        gt=0,
        requires=FOR_IMAGES,
    )
    tokens: Literal["auto", "characters", "words", "subwords"] = hyperparameter_field(
        "auto",
        "Unit into which texts are split. auto is characters if the median text has at most 40 of them, else words. "
        "subwords (byte-pair encoding) need the package tokenizers.",
        "Sennrich, Haddow & Birch 2016 (subwords)",
        requires=FOR_CNN_AND_RNN,
    )
    max_vocabulary: int = hyperparameter_field(
        10_000, "Maximum number of distinct tokens; rarer ones count as unknown.", ge=1, requires=FOR_CNN_AND_RNN
    )
    min_token_count: int = hyperparameter_field(
        2,
        "Minimum number of occurrences of a token in the training rows; rarer ones count as unknown.",
        ge=1,
        requires=FOR_CNN_AND_RNN,
    )
    max_length: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto",
        "Maximum number of tokens of a text (its beginning is kept) or of steps of a sequence (its end is kept). auto "
        "is the 99th percentile of the training rows, at most 1,000.",
        requires=FOR_CNN_AND_RNN,
    )
    time: str = hyperparameter_field("", "Column of times; if set, the model forecasts the target.")
    horizon: int = hyperparameter_field(1, "Number of steps to forecast.", ge=1, le=10_000)
    window: Annotated[int, Field(ge=1, le=100_000)] | Auto = hyperparameter_field(
        "auto", "Number of past steps used for a forecast. auto is three times the horizon, at least 24."
    )
    series: str = hyperparameter_field("", "Column that names the series of a row, if the table holds several.")
    known_covariates: Annotated[tuple[str, ...], BeforeValidator(parse_list)] = hyperparameter_field(
        (), "Columns whose values are known in advance for the steps to forecast, such as holidays."
    )
    target_transform: Literal["auto", "none", "log"] = hyperparameter_field(
        "auto",
        "Transformation of a regression target before standardization. auto is log if the target is not negative and "
        "strongly skewed, else none.",
    )
