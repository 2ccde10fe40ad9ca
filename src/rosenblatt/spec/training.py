"""The `training` section of a spec: loss, optimizer, schedules, regularization and augmentation.

Every hyperparameter is described here once: name, limits, default, help and source. The command line's options, the
estimators' arguments and docs/hyperparameters.md are made from these descriptions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import (
    DEEP_KINDS,
    FOR_IMAGES,
    FOR_MLP,
    FOR_PERCEPTRON,
    Auto,
    Loss,
    Optimizer,
    Schedule,
    SpecSection,
    hyperparameter_field,
    parse_class_weights,
    parse_list,
)


class TrainingSpec(SpecSection):
    """How the network learns."""

    members: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto",
        "Networks trained as one population, each leaving out another part of the rows to choose its best epoch; "
        "their predictions are averaged.",
        "Breiman 1996 (bagging); Krogh & Vedelsby 1995 (cross-validated ensembles)",
    )
    folds: Annotated[int, Field(ge=1, le=1000)] | Auto = hyperparameter_field(
        "auto",
        "Parts the training rows are dealt into; each member keeps another one for validation. 1 keeps none: members "
        "learn from all rows, for all epochs.",
    )
    multiclass: Literal["kesler", "crammer_singer", "one_vs_rest"] = hyperparameter_field(
        "kesler",
        "Of more than two classes: correct the right class and the winner (kesler), or all that beat the right one "
        "(crammer_singer); or learn each class against the rest, as adaline, delta and voted do anyway.",
        "Duda & Hart 1973, 5.12; Crammer & Singer 2003",
        requires=FOR_PERCEPTRON,
    )
    margin: float = hyperparameter_field(
        1.0,
        "How far on its side of 0 a row must be, so that nothing is learnt from it.",
        ge=0,
        requires={"perceptron_rule": ["margin"]},
    )
    aggressiveness: float = hyperparameter_field(
        1.0,
        "Longest step, or how hard steps are held back (C).",
        "Crammer et al. 2006",
        gt=0,
        requires={"perceptron_rule": ["passive_aggressive_1", "passive_aggressive_2"]},
    )
    loss: Loss = hyperparameter_field(
        "auto",
        "What training minimizes; auto is cross_entropy for classes and labels, squared for values.",
        "Lin et al. 2017 (focal); Cortes & Vapnik 1995 (hinge); Huber 1964; Koenker & Bassett 1978 (quantile)",
        requires=FOR_MLP,
    )
    focal_gamma: float = hyperparameter_field(
        2.0,
        "Focusing parameter of the focal loss; larger values down-weight well-classified rows.",
        ge=0,
        le=20,
        requires={"loss": ["focal"]},
    )
    huber_delta: float = hyperparameter_field(
        1.0, "Error, in standard deviations of the target, from which on the loss is linear.", gt=0,
        requires={"loss": ["huber"]},
    )  # fmt: skip
    quantile: float = hyperparameter_field(
        0.5, "Quantile that is predicted; 0.5 is the median.", gt=0, lt=1, requires={"loss": ["quantile"]}
    )
    hinge_margin: float = hyperparameter_field(
        1.0, "How far on its side of 0 a row must be to cost nothing.", ge=0, requires={"loss": ["hinge"]}
    )
    optimizer: Optimizer = hyperparameter_field(
        "adam",
        "Rule that turns gradients into steps. Weight decay is decoupled in all; adamw is adam with some of it.",
        "Kingma & Ba 2015 (adam); Dozat 2016 (nadam); Polyak 1964 (momentum); Nesterov 1983; Tieleman & Hinton 2012 "
        "(rmsprop); Duchi, Hazan & Singer 2011 (adagrad)",
        requires=FOR_MLP,
    )
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | Auto = hyperparameter_field("auto", "Length of the steps.")
    schedule: Schedule | Literal["plateau", "auto"] = hyperparameter_field(
        "auto",
        "How the learning rate changes over the steps; plateau waits until the score gets no better; auto is one_cycle "
        "for cnn and rnn, else constant.",
        "Loshchilov & Hutter 2017 (cosine); Holzmüller et al. 2024 (flat_cosine, log_cosine); Smith & Topin 2019 "
        "(one_cycle); Goyal et al. 2017 (warmup_cosine)",
        requires=FOR_MLP,
    )
    dropout_schedule: Schedule = hyperparameter_field(
        "constant", "How dropout changes over the steps.", "Holzmüller et al. 2024", requires=FOR_MLP
    )
    weight_decay_schedule: Schedule = hyperparameter_field(
        "constant", "How weight decay changes over the steps.", "Holzmüller et al. 2024", requires=FOR_MLP
    )
    schedule_end: float = hyperparameter_field(
        0.01, "Factor that the schedules step and exponential end with.", gt=0, le=1, requires=FOR_MLP
    )
    schedule_drops: int = hyperparameter_field(2, "Drops of the schedule step.", ge=1, le=1000, requires=FOR_MLP)
    warmup: float = hyperparameter_field(
        0.1,
        "Share of training in which the schedule warmup_cosine rises.",
        "Goyal et al. 2017",
        ge=0,
        lt=1,
        requires=FOR_MLP,
    )
    plateau_patience: int = hyperparameter_field(
        5,
        "Epochs without a better score after which the schedule plateau falls.",
        ge=1,
        requires={"schedule": ["plateau"]},
    )
    plateau_factor: float = hyperparameter_field(
        0.3, "Factor by which the schedule plateau falls.", gt=0, lt=1, requires={"schedule": ["plateau"]}
    )
    layer_lr_multipliers: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1000)], ...], Field(min_length=1), BeforeValidator(parse_list)
    ] = hyperparameter_field(
        (1.0,), "Factors of the learning rate of the layers, first to last, as 0.5,1,1; one for all.", requires=FOR_MLP
    )
    bias_lr_multiplier: float = hyperparameter_field(
        1.0, "Factor of the learning rate of biases.", ge=0, le=1000, requires=FOR_MLP
    )
    scaling_layer_lr_multiplier: float = hyperparameter_field(
        6.0,
        "Factor of the learning rate of the inputs' factors.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        requires={"scaling_layer": ["True"]},
    )
    parametric_activation_lr_multiplier: float = hyperparameter_field(
        0.1,
        "Factor of the learning rate of parametric activations.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        requires={"parametric_activation": ["True"]},
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = hyperparameter_field(
        "auto", "Most passes over the training rows; each member keeps its best epoch on its validation rows."
    )
    patience: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto", "Epochs without a better validation score after which a member stops."
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto", "full"] = hyperparameter_field(
        "auto", "Rows of one step; full for all.", requires=FOR_MLP
    )
    batch_order: Literal["shuffled", "stratified", "in_order"] = hyperparameter_field(
        "shuffled",
        "Which rows make a batch: any, as many of each class as its share is, or those that stand side by side.",
    )
    beta1: float = hyperparameter_field(
        0.9,
        "Memory of the gradient: that of momentum, nesterov, adam and nadam.",
        ge=0,
        lt=1,
        requires={"optimizer": ["momentum", "nesterov", "adam", "adamw", "nadam"]},
    )
    beta2: float = hyperparameter_field(
        0.999,
        "Memory of the squared gradient: that of rmsprop, adam and nadam.",
        "Kingma & Ba 2015",
        ge=0,
        lt=1,
        requires={"optimizer": ["rmsprop", "adam", "adamw", "nadam"]},
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | Auto = hyperparameter_field(
        "auto", "Decoupled weight decay; biases do not decay.", "Loshchilov & Hutter 2019", requires=FOR_MLP
    )
    l1: float = hyperparameter_field(
        0.0, "How much weights are moved towards 0 in each step, times the learning rate.", "Duchi & Singer 2009", ge=0,
        requires=FOR_MLP,
    )  # fmt: skip
    dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto", "Share of hidden units set to 0 in each step.", "Srivastava et al. 2014", requires=FOR_MLP
    )
    device: str = hyperparameter_field(
        "cpu",
        "Where networks are trained: cpu, or cuda (cuda:1 for another GPU), where networks of one shape are trained as "
        "one; needs PyTorch.",
        requires=FOR_MLP,
    )
    cores: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto",
        "CPU cores on which a convolutional or recurrent network is trained; auto is 1 in a search and for "
        "small networks, else all of them, shared out among the networks.",
        requires={"kind": list(DEEP_KINDS)},
    )
    precision: Literal["auto", "float32", "mixed"] = hyperparameter_field(
        "auto",
        "Numbers in which PyTorch trains networks; mixed computes products in 16 bits. auto is mixed for convolutions "
        "and LSTMs on processors made for it (AMX, AVX-512 BF16), else float32.",
        "Micikevicius et al. 2018",
        requires=FOR_MLP,
    )
    flip: bool | Auto = hyperparameter_field(
        "auto", "Whether images are mirrored left to right, one in two; auto does it.", requires=FOR_IMAGES
    )
    crop: Annotated[float, Field(ge=0, le=0.5)] | Auto = hyperparameter_field(
        "auto", "Share of its size that an image is moved by at most, up or down and sideways; auto is 1/8.",
        "Krizhevsky, Sutskever & Hinton 2012", requires=FOR_IMAGES,
    )  # fmt: skip
    rotate: float = hyperparameter_field(
        0.0, "Degrees that images are turned by at most.", ge=0, le=180, requires=FOR_IMAGES
    )
    color_jitter: float = hyperparameter_field(
        0.0, "Share by which brightness, contrast and each color change at most.", ge=0, le=1, requires=FOR_IMAGES
    )
    cutout: Annotated[float, Field(ge=0, le=1)] | Auto = hyperparameter_field(
        "auto", "Share of its size of a square that is cut out of an image; auto is 1/4.", "DeVries & Taylor 2017",
        requires=FOR_IMAGES,
    )  # fmt: skip
    mixup: float = hyperparameter_field(
        0.0, "How evenly two images and their targets are mixed; 0 for not.", "Zhang et al. 2018", ge=0, le=10,
        requires=FOR_IMAGES,
    )  # fmt: skip
    input_dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto",
        "Share of inputs set to 0 in each step; of texts, of tokens that are hidden. auto is 0.3 where rnn tells "
        "something of texts, else 0.",
        "Srivastava et al. 2014",
        requires=FOR_MLP,
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto",
        "Share of a class target spread over all classes; auto is 0.1 for cnn, else 0.",
        "Szegedy et al. 2016, section 7",
        requires=FOR_MLP,
    )
    clip_norm: float = hyperparameter_field(
        1.0,
        "Longest gradient; longer ones are scaled down to it. 0 for no limit.",
        "Pascanu et al. 2013",
        ge=0,
        requires=FOR_MLP,
    )
    max_norm: float = hyperparameter_field(
        0.0,
        "Longest weights of a unit; longer ones are scaled down to it. 0 for no limit.",
        "Srivastava et al. 2014, section 5.1",
        ge=0,
        requires=FOR_MLP,
    )
    ema_decay: float = hyperparameter_field(
        0.0,
        "Memory of the running mean of the parameters, kept instead of the last ones, such as 0.999; 0 for none.",
        "Polyak & Juditsky 1992",
        ge=0,
        lt=1,
        requires=FOR_MLP,
    )
    scoring: str = hyperparameter_field(
        "loss",
        "Validation score that chooses the best epoch: loss, or the name of a scikit-learn scorer such as roc_auc.",
    )
    class_weight: Annotated[
        Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(parse_class_weights)
    ] = hyperparameter_field(
        None, "Weights of the classes, as yes=3,no=1; balanced gives every class the same sum of weights."
    )
    logit_adjustment: float = hyperparameter_field(
        0.0,
        "How far probabilities are moved from the shares that classes have of the training rows towards equal ones, "
        "by which rare classes are told more often: 0.2 may lift F1, 1 balanced accuracy; log loss suffers.",
        "Menon et al. 2021 (logit adjustment after training)",
        ge=0,
        le=1,
        requires=FOR_MLP,
    )
    seed: int = hyperparameter_field(0, "Seed of all random choices; equal seeds give equal networks.", ge=0, lt=2**63)
