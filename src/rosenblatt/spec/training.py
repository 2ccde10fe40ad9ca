"""The `training` section of a spec: loss, optimizer, schedules, regularization and augmentation.

The options of the command line, the arguments of the estimators and docs/hyperparameters.md are generated from the
name, limits, default, description and source given here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import (
    FOR_DEEP,
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
    """Loss, optimizer, schedules, regularization and augmentation."""

    members: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto",
        "Number of networks that are trained together as one population; predictions are their mean. Each "
        "uses another fold of the training rows for validation. auto is 1 for perceptron, else 2 to 16, "
        "fewer for more rows.",
        "Breiman 1996 (bagging); Krogh & Vedelsby 1995 (cross-validated ensembles)",
    )
    folds: Annotated[int, Field(ge=1, le=1000)] | Auto = hyperparameter_field(
        "auto",
        "Number of folds of the training rows; each network uses one for validation and the others for "
        "training. 1 turns validation off: networks train on all rows for all epochs. auto is 16 below "
        "2,000 training rows, else 8; 1 below 20 rows and for cnn, rnn and channel_mlp; fewer if there are "
        "fewer groups or times.",
    )
    multiclass: Literal["kesler", "crammer_singer", "one_vs_rest"] = hyperparameter_field(
        "kesler",
        "Update of a perceptron with more than two classes: the correct class and the highest-scoring "
        "wrong one (kesler), all classes that score above the correct one (crammer_singer), or each class "
        "against the rest (one_vs_rest; always so for adaline, delta and voted).",
        "Duda & Hart 1973, 5.12; Crammer & Singer 2003",
        requires=FOR_PERCEPTRON,
    )
    margin: float = hyperparameter_field(
        1.0,
        "Rows that are correct by less than this margin update the weights too.",
        ge=0,
        requires={"perceptron_rule": ["margin"]},
    )
    aggressiveness: float = hyperparameter_field(
        1.0,
        "Aggressiveness C of the updates: their maximum size (passive_aggressive_1), or how little they "
        "are damped (passive_aggressive_2).",
        "Crammer et al. 2006",
        gt=0,
        requires={"perceptron_rule": ["passive_aggressive_1", "passive_aggressive_2"]},
    )
    loss: Loss = hyperparameter_field(
        "auto",
        "Loss function to minimize. auto is cross_entropy for classes and labels, squared for numbers.",
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
        1.0,
        "Error above which the Huber loss is linear, in standard deviations of the target.",
        gt=0,
        requires={"loss": ["huber"]},
    )
    quantile: float = hyperparameter_field(
        0.5, "Quantile to predict; 0.5 is the median.", gt=0, lt=1, requires={"loss": ["quantile"]}
    )
    hinge_margin: float = hyperparameter_field(
        1.0,
        "Margin of the hinge loss: rows that are correct by more than it have no loss.",
        ge=0,
        requires={"loss": ["hinge"]},
    )
    optimizer: Optimizer = hyperparameter_field(
        "adam",
        "Optimizer. All use decoupled weight decay; adamw is adam with a weight decay of 0.01 by default.",
        "Kingma & Ba 2015 (adam); Dozat 2016 (nadam); Polyak 1964 (momentum); Nesterov 1983; Tieleman & Hinton 2012 "
        "(rmsprop); Duchi, Hazan & Singer 2011 (adagrad)",
        requires=FOR_MLP,
    )
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | Auto = hyperparameter_field(
        "auto",
        "Learning rate, typically 0.0001 to 0.01. auto is 0.001 for mlp and channel_mlp, 0.002 for cnn "
        "and rnn, and 1 for most rules of a perceptron.",
    )
    schedule: Schedule | Literal["plateau", "auto"] = hyperparameter_field(
        "auto",
        "Schedule of the learning rate. plateau lowers it when the validation score stops improving. auto "
        "is one_cycle for cnn, rnn and channel_mlp, else constant.",
        "Loshchilov & Hutter 2017 (cosine); Holzmüller et al. 2024 (flat_cosine, log_cosine); Smith & Topin 2019 "
        "(one_cycle); Goyal et al. 2017 (warmup_cosine)",
        requires=FOR_MLP,
    )
    dropout_schedule: Schedule = hyperparameter_field(
        "constant", "Schedule of the dropout rate.", "Holzmüller et al. 2024", requires=FOR_MLP
    )
    weight_decay_schedule: Schedule = hyperparameter_field(
        "constant", "Schedule of the weight decay.", "Holzmüller et al. 2024", requires=FOR_MLP
    )
    schedule_end: float = hyperparameter_field(
        0.01, "Factor with which the schedules step and exponential end.", gt=0, le=1, requires=FOR_MLP
    )
    schedule_drops: int = hyperparameter_field(
        2, "Number of drops of the schedule step.", ge=1, le=1000, requires=FOR_MLP
    )
    warmup: float = hyperparameter_field(
        0.1,
        "Fraction of training during which the schedule warmup_cosine rises from 0.",
        "Goyal et al. 2017",
        ge=0,
        lt=1,
        requires=FOR_MLP,
    )
    plateau_patience: int = hyperparameter_field(
        5,
        "Number of epochs without a better validation score after which the schedule plateau lowers the learning rate.",
        ge=1,
        requires={"schedule": ["plateau"]},
    )
    plateau_factor: float = hyperparameter_field(
        0.3,
        "Factor that multiplies the learning rate whenever the schedule plateau lowers it.",
        gt=0,
        lt=1,
        requires={"schedule": ["plateau"]},
    )
    layer_lr_multipliers: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1000)], ...], Field(min_length=1), BeforeValidator(parse_list)
    ] = hyperparameter_field(
        (1.0,),
        "Multipliers of the learning rate for each layer, first to last, such as 0.5,1,1; a single one "
        "applies to all layers.",
        requires=FOR_MLP,
    )
    bias_lr_multiplier: float = hyperparameter_field(
        1.0, "Multiplier of the learning rate for biases.", ge=0, le=1000, requires=FOR_MLP
    )
    scaling_layer_lr_multiplier: float = hyperparameter_field(
        6.0,
        "Multiplier of the learning rate for the scaling layer.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        requires={"scaling_layer": ["true"]},
    )
    parametric_activation_lr_multiplier: float = hyperparameter_field(
        0.1,
        "Multiplier of the learning rate for parametric activations.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        requires={"parametric_activation": ["true"]},
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = hyperparameter_field(
        "auto",
        "Maximum number of passes over the training rows; each network keeps its best epoch on its "
        "validation rows. auto is 200 for mlp, 100 for perceptron, else 15 to 80, fewer for more rows.",
    )
    patience: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto",
        "Early stopping: number of epochs without a better validation score after which a network stops. "
        "auto is 16 for mlp, 100 for perceptron, and all epochs for cnn, rnn and channel_mlp.",
    )
    patience_factor: Annotated[float, Field(ge=0)] | Auto = hyperparameter_field(
        "auto",
        "Early stopping: a network waits for a better validation score for at most 3 epochs plus this many times "
        "its last improved epoch, if that is less than patience. 0 is no such limit. auto is 2 for mlp, an auto "
        "patience and more than 100 columns of numbers, else 0.",
    )
    tol: Annotated[float, BeforeValidator(lambda value: 0.0 if value is None else value)] = hyperparameter_field(
        0.0,
        "Early stopping: the smallest improvement of the best validation score so far that patience counts as one. "
        "Above 0, networks without validation rows stop early too, by their training loss. The best epoch is kept "
        "whatever its improvement.",
        ge=0,
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto", "full"] = hyperparameter_field(
        "auto",
        "Training rows per step of the optimizer; full is all rows. auto is 16 to 1,024, more for more rows.",
        requires=FOR_MLP,
    )
    batch_order: Literal["shuffled", "stratified", "in_order"] = hyperparameter_field(
        "shuffled",
        "Which rows form a batch: random ones (shuffled), random ones with the class frequencies of the "
        "table (stratified), or consecutive ones (in_order).",
    )
    beta1: float = hyperparameter_field(
        0.9,
        "Decay rate of the moving average of gradients (momentum).",
        ge=0,
        lt=1,
        requires={"optimizer": ["momentum", "nesterov", "adam", "adamw", "nadam"]},
    )
    beta2: float = hyperparameter_field(
        0.999,
        "Decay rate of the moving average of squared gradients.",
        "Kingma & Ba 2015",
        ge=0,
        lt=1,
        requires={"optimizer": ["rmsprop", "adam", "adamw", "nadam"]},
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | Auto = hyperparameter_field(
        "auto",
        "Decoupled weight decay: each step multiplies weights by 1 - learning rate x weight decay; biases "
        "do not decay. auto is 0.05 for cnn, rnn and channel_mlp, 0.01 for mlp with adamw, else 0.",
        "Loshchilov & Hutter 2019",
        requires=FOR_MLP,
    )
    l1: float = hyperparameter_field(
        0.0,
        "L1 regularization: each step moves weights towards 0 by this amount times the learning rate.",
        "Duchi & Singer 2009",
        ge=0,
        requires=FOR_MLP,
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto",
        "Fraction of hidden units set to 0 in each training step. auto is 0.1 for mlp, 0 for cnn, 0.4 for "
        "rnn (0.1 on texts) and 0.2 for channel_mlp.",
        "Srivastava et al. 2014",
        requires=FOR_MLP,
    )
    device: str = hyperparameter_field(
        "cpu",
        "Device to train on: cpu, cuda, or a certain GPU such as cuda:1. Networks of equal shape train as "
        "one batch on a GPU; it needs PyTorch.",
        requires=FOR_MLP,
    )
    cores: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto",
        "CPU cores that train each convolutional or recurrent network. auto is 1 in a search and for "
        "small networks; else all cores are divided among the networks.",
        requires=FOR_DEEP,
    )
    precision: Literal["auto", "float32", "mixed"] = hyperparameter_field(
        "auto",
        "Floating-point precision of PyTorch; mixed computes products in 16 bits. auto is mixed for "
        "convolutions and LSTMs on processors with 16-bit instructions (AMX, AVX-512 BF16), else float32.",
        "Micikevicius et al. 2018",
        requires=FOR_MLP,
    )
    flip: bool | Auto = hyperparameter_field(
        "auto",
        "Mirror images from left to right at random, every second one on average. auto is true for cnn, "
        "false for channel_mlp.",
        requires=FOR_IMAGES,
    )
    crop: Annotated[float, Field(ge=0, le=0.5)] | Auto = hyperparameter_field(
        "auto",
        "Maximum random shift of an image in each direction, as a fraction of its side. auto is 0.125 for "
        "cnn, 0 for channel_mlp.",
        "Krizhevsky, Sutskever & Hinton 2012",
        requires=FOR_IMAGES,
    )
    rotate: float = hyperparameter_field(
        0.0, "Maximum random rotation of images, in degrees.", ge=0, le=180, requires=FOR_IMAGES
    )
    color_jitter: float = hyperparameter_field(
        0.0,
        "Strength of random changes to the contrast and to the level of each color channel; typically 0.1 to 0.4.",
        ge=0,
        le=1,
        requires=FOR_IMAGES,
    )
    cutout: Annotated[float, Field(ge=0, le=1)] | Auto = hyperparameter_field(
        "auto",
        "Side of a random square that is erased from each image, as a fraction of the image's side. auto "
        "is 0.25 for cnn, 0 for channel_mlp.",
        "DeVries & Taylor 2017",
        requires=FOR_IMAGES,
    )
    mixup: float = hyperparameter_field(
        0.0,
        "Parameter of the beta distribution that mixes pairs of images and their targets; larger values "
        "mix more evenly, typically 0.1 to 0.4, 0 is off.",
        "Zhang et al. 2018",
        ge=0,
        le=10,
        requires=FOR_IMAGES,
    )
    input_dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto",
        "Fraction of inputs set to 0 in each training step; in texts, fraction of tokens that are hidden. "
        "auto is 0.3 for rnn on texts, else 0.",
        "Srivastava et al. 2014",
        requires=FOR_MLP,
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | Auto = hyperparameter_field(
        "auto",
        "Fraction of each target probability that is spread evenly over all classes. auto is 0.1 for cnn, else 0.",
        "Szegedy et al. 2016, section 7",
        requires=FOR_MLP,
    )
    clip_norm: float = hyperparameter_field(
        1.0,
        "Maximum norm of the gradient; longer gradients are scaled down to it. 0 is no limit.",
        "Pascanu et al. 2013",
        ge=0,
        requires=FOR_MLP,
    )
    max_norm: float = hyperparameter_field(
        0.0,
        "Maximum norm of the weights of a unit; longer weight vectors are scaled down to it. Typically 1 "
        "to 4, 0 is no limit.",
        "Srivastava et al. 2014, section 5.1",
        ge=0,
        requires=FOR_MLP,
    )
    ema_decay: float = hyperparameter_field(
        0.0,
        "Decay rate of an exponential moving average of the parameters, which predicts in place of the "
        "last parameters. Typically 0.99 to 0.9999, 0 is off.",
        "Polyak & Juditsky 1992",
        ge=0,
        lt=1,
        requires=FOR_MLP,
    )
    scoring: str = hyperparameter_field(
        "loss",
        "Validation score that selects the best epoch, and in a search the best trials: loss, or the name "
        "of a scikit-learn scorer such as roc_auc.",
    )
    class_weight: Annotated[
        Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(parse_class_weights)
    ] = hyperparameter_field(
        None, "Weights of the classes, such as yes=3,no=1; balanced gives every class the same total weight."
    )
    logit_adjustment: float = hyperparameter_field(
        0.0,
        "Strength of the logit adjustment of predicted probabilities, from class frequencies as in the "
        "training rows (0) to equal ones (1); rare classes are predicted more often. 0.2 may raise F1, 1 "
        "balanced accuracy; the log loss gets worse.",
        "Menon et al. 2021 (logit adjustment after training)",
        ge=0,
        le=1,
        requires=FOR_MLP,
    )
    seed: int = hyperparameter_field(
        0, "Seed of the random number generator; equal seeds give equal models.", ge=0, lt=2**63
    )
