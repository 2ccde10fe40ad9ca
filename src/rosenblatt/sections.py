"""In: the hyperparameters of a network, its training, its data. Out: frozen, validated sections of a spec.

Every hyperparameter is described here once: name, limits, default, help and source. The command line's options, the
estimators' arguments and docs/hyperparameters.md are made from these descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Activation = Literal[
    "identity", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus"
]
Initializer = Literal[
    "zeros", "constant", "uniform", "normal", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform",
    "lecun_normal", "lecun_uniform", "orthogonal", "data_dependent",
]  # fmt: skip
Rule = Literal[
    "rosenblatt", "averaged", "voted", "pocket", "margin", "passive_aggressive", "passive_aggressive_1",
    "passive_aggressive_2", "adaline", "delta", "kernel",
]  # fmt: skip
Loss = Literal[
    "auto", "cross_entropy", "focal", "hinge", "perceptron", "squared", "absolute", "huber", "quantile", "poisson"
]
Optimizer = Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw", "nadam"]
Schedule = Literal[
    "constant", "step", "exponential", "cosine", "flat_cosine", "log_cosine", "warmup_cosine", "one_cycle"
]
Task = Literal["binary", "multiclass", "multilabel", "regression"]
Auto = Literal["auto"]


MLP = {"kind": ["mlp"]}
PERCEPTRON = {"kind": ["perceptron"]}


def _field(
    default: Any, help: str, source: str = "", *, only: Mapping[str, list[str]] | None = None, **limits: Any
) -> Any:
    """A hyperparameter; `only` names those, and their values, without which it means nothing."""
    extra: Any = {"source": source, "only": dict(only or {})}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def split(value: Any) -> Any:
    """Lists written as text, as on the command line: '64,32'; a single number is a list of one."""
    if isinstance(value, str) and value != "auto":
        return [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _pairs(value: Any) -> Any:
    """Weights by class, also written as text: 'yes=3,no=1'. A class goes by its text, as in a table."""
    if isinstance(value, str) and "=" in value:
        value = dict(pair.rsplit("=", 1) for pair in value.split(",") if "=" in pair)
    return {class_name(key): weight for key, weight in value.items()} if isinstance(value, Mapping) else value


def class_name(label: Any) -> str:
    """A class as text, in which 1 and 1.0 are the same."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class Section(BaseModel):
    """What all sections share: they are frozen, and know no other names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSpec(Section):
    """The network."""

    kind: Literal["mlp", "perceptron"] = _field(
        "mlp",
        "The kind of network: a multilayer perceptron, or Rosenblatt's single layer of step units.",
        "Rosenblatt 1958; Rumelhart, Hinton & Williams 1986",
    )
    rule: Rule = _field(
        "rosenblatt",
        "How a perceptron learns from a row: only from mistakes (rosenblatt), and then say the mean of all its states "
        "(averaged), let them vote (voted) or keep the best (pocket); from all rows closer than a margin (margin, "
        "passive_aggressive); from the size of the error (adaline, delta); or by likeness to rows it was mistaken on "
        "(kernel).",
        "Rosenblatt 1958; Freund & Schapire 1999 (averaged, voted); Gallant 1990 (pocket); Crammer et al. 2006 "
        "(passive_aggressive); Widrow & Hoff 1960 (adaline, delta); Aizerman et al. 1964 (kernel)",
        only=PERCEPTRON,
    )
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...] | Auto, BeforeValidator(split)] = _field(
        "auto",
        "Units of each hidden layer, first to last, such as 256,256; auto chooses by the number of training rows. "
        "An empty list makes a linear model.",
        only=MLP,
    )
    activation: Annotated[tuple[Activation, ...], Field(min_length=1), BeforeValidator(split)] = _field(
        ("relu", "silu"),
        "Activation function of the hidden units; of several, the members of the population take turns.",
        "Nair & Hinton 2010 (relu); Elfwing et al. 2018 (silu)",
        only=MLP,
    )
    parametric: bool = _field(
        False,
        "Learn for each hidden unit how much of the activation function there is between its weighted sum and it.",
        "Holzmüller et al. 2024",
        only=MLP,
    )
    normalization: Literal["none", "batch", "layer"] = _field(
        "none",
        "Normalize the weighted sums of hidden units, over the rows of a batch or over the units of a layer.",
        "Ioffe & Szegedy 2015 (batch); Ba, Kiros & Hinton 2016 (layer)",
        only=MLP,
    )
    residual: bool = _field(
        False, "Add what enters a hidden layer to what leaves it, where both are as wide.", "He et al. 2016", only=MLP
    )
    front_scale: bool = _field(
        False, "Learn a factor for each input, in front of the first layer.", "Holzmüller et al. 2024", only=MLP
    )
    initializer: Initializer = _field(
        "he_normal",
        "Distribution of the first weights; data_dependent gives each weighted sum the same variance over the rows.",
        "He et al. 2015; Glorot & Bengio 2010; LeCun et al. 1998; Saxe et al. 2014 (orthogonal)",
        only=MLP,
    )
    weight_scale: Annotated[float, Field(ge=0, le=1000)] | Auto = _field(
        "auto",
        "Factor of the first weights: of their standard deviation or limit, or their value; auto is 1, and 0.05 for "
        "constant, uniform and normal.",
        only=MLP,
    )
    bias_initializer: Literal["zeros", "constant", "uniform", "normal", "data_dependent"] = _field(
        "zeros",
        "Distribution of the first biases; uniform is divided by the root of the inputs, data_dependent puts each "
        "unit's 0 among the rows.",
        "Holzmüller et al. 2024 (data_dependent)",
        only=MLP,
    )
    bias_scale: float = _field(
        1.0,
        "Factor of the first biases, or their value.",
        ge=-1000,
        le=1000,
        only={"bias_initializer": ["constant", "uniform", "normal", "data_dependent"]},
    )
    kernel: Literal["rbf", "polynomial"] = _field(
        "rbf",
        "Likeness of two rows: e^(-gamma |x - s|^2), or (gamma x s + 1)^degree.",
        "Aizerman et al. 1964",
        only={"rule": ["kernel"]},
    )
    gamma: Annotated[float, Field(gt=0, le=1e6)] | Auto = _field(
        "auto", "Factor in the kernel; auto is 1 / number of inputs.", only={"rule": ["kernel"]}
    )
    degree: int = _field(3, "Degree of the polynomial kernel.", ge=1, le=20, only={"kernel": ["polynomial"]})
    budget: int = _field(
        1000,
        "Most states that vote, of which those that lasted longest are kept; or most rows of a kernel perceptron, of "
        "which one taken at random makes room for the next.",
        "Cavallanti, Cesa-Bianchi & Gentile 2007 (kernel)",
        ge=2,
        le=1_000_000,
        only={"rule": ["voted", "kernel"]},
    )


class TrainingSpec(Section):
    """How the network learns."""

    members: Annotated[int, Field(ge=1, le=4096)] | Auto = _field(
        "auto",
        "Networks trained as one population, each leaving out another part of the rows to choose its best epoch; "
        "their predictions are averaged.",
        "Breiman 1996 (bagging); Krogh & Vedelsby 1995 (cross-validated ensembles)",
    )
    folds: Annotated[int, Field(ge=1, le=1000)] | Auto = _field(
        "auto",
        "Parts the training rows are dealt into; each member keeps another one for validation. 1 keeps none: members "
        "learn from all rows, for all epochs.",
    )
    multiclass: Literal["kesler", "crammer_singer", "one_vs_rest"] = _field(
        "kesler",
        "Of more than two classes: correct the right class and the winner (kesler), or all that beat the right one "
        "(crammer_singer); or learn each class against the rest, as adaline, delta and voted do anyway.",
        "Duda & Hart 1973, 5.12; Crammer & Singer 2003",
        only=PERCEPTRON,
    )
    margin: float = _field(
        1.0,
        "How far on its side of 0 a row must be, so that nothing is learnt from it.",
        ge=0,
        only={"rule": ["margin"]},
    )
    aggressiveness: float = _field(
        1.0,
        "Longest step, or how hard steps are held back (C).",
        "Crammer et al. 2006",
        gt=0,
        only={"rule": ["passive_aggressive_1", "passive_aggressive_2"]},
    )
    loss: Loss = _field(
        "auto",
        "What training minimizes; auto is cross_entropy for classes and labels, squared for values.",
        "Lin et al. 2017 (focal); Cortes & Vapnik 1995 (hinge); Huber 1964; Koenker & Bassett 1978 (quantile)",
        only=MLP,
    )
    focal_gamma: float = _field(
        2.0, "How much less heed is paid to rows that are right already.", ge=0, le=20, only={"loss": ["focal"]}
    )
    huber_delta: float = _field(
        1.0, "Error, in standard deviations of the target, from which on the loss is linear.", gt=0,
        only={"loss": ["huber"]},
    )  # fmt: skip
    quantile: float = _field(
        0.5, "Quantile that is predicted; 0.5 is the median.", gt=0, lt=1, only={"loss": ["quantile"]}
    )
    hinge_margin: float = _field(
        1.0, "How far on its side of 0 a row must be to cost nothing.", ge=0, only={"loss": ["hinge"]}
    )
    optimizer: Optimizer = _field(
        "adam",
        "Rule that turns gradients into steps. Weight decay is decoupled in all; adamw is adam with some of it.",
        "Kingma & Ba 2015 (adam); Dozat 2016 (nadam); Polyak 1964 (momentum); Nesterov 1983; Tieleman & Hinton 2012 "
        "(rmsprop); Duchi, Hazan & Singer 2011 (adagrad)",
        only=MLP,
    )
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | Auto = _field("auto", "Length of the steps.")
    schedule: Schedule | Literal["plateau"] = _field(
        "constant",
        "How the learning rate changes over the steps; plateau waits until the score gets no better.",
        "Loshchilov & Hutter 2017 (cosine); Holzmüller et al. 2024 (flat_cosine, log_cosine); Smith & Topin 2019 "
        "(one_cycle); Goyal et al. 2017 (warmup_cosine)",
        only=MLP,
    )
    dropout_schedule: Schedule = _field(
        "constant", "How dropout changes over the steps.", "Holzmüller et al. 2024", only=MLP
    )
    weight_decay_schedule: Schedule = _field(
        "constant", "How weight decay changes over the steps.", "Holzmüller et al. 2024", only=MLP
    )
    schedule_end: float = _field(0.01, "Factor that the schedules step and exponential end with.", gt=0, le=1, only=MLP)
    schedule_drops: int = _field(2, "Drops of the schedule step.", ge=1, le=1000, only=MLP)
    warmup: float = _field(
        0.1, "Share of training in which the schedule warmup_cosine rises.", "Goyal et al. 2017", ge=0, lt=1, only=MLP
    )
    plateau_patience: int = _field(
        5, "Epochs without a better score after which the schedule plateau falls.", ge=1, only={"schedule": ["plateau"]}
    )
    plateau_factor: float = _field(
        0.3, "Factor by which the schedule plateau falls.", gt=0, lt=1, only={"schedule": ["plateau"]}
    )
    layer_rates: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1000)], ...], Field(min_length=1), BeforeValidator(split)
    ] = _field((1.0,), "Factors of the learning rate of the layers, first to last, as 0.5,1,1; one for all.", only=MLP)
    bias_rate: float = _field(1.0, "Factor of the learning rate of biases.", ge=0, le=1000, only=MLP)
    front_scale_rate: float = _field(
        6.0,
        "Factor of the learning rate of the inputs' factors.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        only={"front_scale": ["True"]},
    )
    parametric_rate: float = _field(
        0.1,
        "Factor of the learning rate of parametric activations.",
        "Holzmüller et al. 2024",
        ge=0,
        le=1000,
        only={"parametric": ["True"]},
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = _field(
        "auto", "Most passes over the training rows; each member keeps its best epoch on its validation rows."
    )
    patience: Annotated[int, Field(ge=1)] | Auto = _field(
        "auto", "Epochs without a better validation score after which a member stops."
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto", "full"] = _field(
        "auto", "Rows of one step; full for all.", only=MLP
    )
    batches: Literal["shuffled", "stratified", "in_order"] = _field(
        "shuffled",
        "Which rows make a batch: any, as many of each class as its share is, or those that stand side by side.",
    )
    beta1: float = _field(
        0.9,
        "Memory of the gradient: that of momentum, nesterov, adam and nadam.",
        ge=0,
        lt=1,
        only={"optimizer": ["momentum", "nesterov", "adam", "adamw", "nadam"]},
    )
    beta2: float = _field(
        0.999,
        "Memory of the squared gradient: that of rmsprop, adam and nadam.",
        "Kingma & Ba 2015",
        ge=0,
        lt=1,
        only={"optimizer": ["rmsprop", "adam", "adamw", "nadam"]},
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | Auto = _field(
        "auto", "Decoupled weight decay; biases do not decay.", "Loshchilov & Hutter 2019", only=MLP
    )
    l1: float = _field(
        0.0, "How much weights are moved towards 0 in each step, times the learning rate.", "Duchi & Singer 2009", ge=0,
        only=MLP,
    )  # fmt: skip
    dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = _field(
        "auto", "Share of hidden units set to 0 in each step.", "Srivastava et al. 2014", only=MLP
    )
    input_dropout: float = _field(
        0.0, "Share of inputs set to 0 in each step.", "Srivastava et al. 2014", ge=0, lt=1, only=MLP
    )
    label_smoothing: float = _field(
        0.0,
        "Share of a class target spread over all classes.",
        "Szegedy et al. 2016, section 7",
        ge=0,
        lt=1,
        only=MLP,
    )
    clip_norm: float = _field(
        1.0,
        "Longest gradient; longer ones are scaled down to it. 0 for no limit.",
        "Pascanu et al. 2013",
        ge=0,
        only=MLP,
    )
    max_norm: float = _field(
        0.0,
        "Longest weights of a unit; longer ones are scaled down to it. 0 for no limit.",
        "Srivastava et al. 2014, section 5.1",
        ge=0,
        only=MLP,
    )
    averaging: float = _field(
        0.0,
        "Memory of the running mean of the parameters, kept instead of the last ones, such as 0.999; 0 for none.",
        "Polyak & Juditsky 1992",
        ge=0,
        lt=1,
        only=MLP,
    )
    scoring: str = _field(
        "loss",
        "Validation score that chooses the best epoch: loss, or the name of a scikit-learn scorer such as roc_auc.",
    )
    class_weight: Annotated[
        Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(_pairs)
    ] = _field(None, "Weights of the classes, as yes=3,no=1; balanced gives every class the same sum of weights.")
    seed: int = _field(0, "Seed of all random choices; equal seeds give equal networks.", ge=0, lt=2**63)


class SearchSpec(Section):
    """The search for hyperparameters: how many are tried, which, and for how long."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = _field(
        None,
        "Sets of hyperparameters to try. With neither trials, minutes nor a space there is no search, but one fit; "
        "with a space alone 100 are tried.",
    )
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = _field(
        None, "Time for the whole command, from reading the table to the saved model; the best by then is kept."
    )
    sampler: Literal["random", "quasi_random", "tpe", "gp", "cma_es", "nsga2", "grid"] = _field(
        "tpe",
        "What proposes hyperparameters, by way of Optuna: at random, evenly spread, by densities of good and bad ones "
        "(tpe), by a Gaussian process (gp, needs PyTorch), by evolution (cma_es; nsga2 for two goals), or on a grid.",
        "Bergstra et al. 2011 (tpe); Hansen 2016 (cma_es); Deb et al. 2002 (nsga2); Akiba et al. 2019 (Optuna)",
    )
    stopping: Literal["asha", "hyperband", "median", "pbt", "none"] = _field(
        "asha",
        "Which trials may go on after some epochs: the best in so many (asha, hyperband), those no worse than the "
        "median, all; or trials copy better ones and change their hyperparameters (pbt).",
        "Li et al. 2020 (asha); Li et al. 2018 (hyperband); Golovin et al. 2017 (median); Jaderberg et al. 2017 (pbt)",
    )
    reduction: int = _field(
        3, "One in so many trials earns the next rung.", ge=2, le=100, only={"stopping": ["asha", "hyperband"]}
    )
    first_rung: Annotated[int, Field(ge=1)] | Auto = _field(
        "auto", "Epochs after which a trial is first compared with others; auto is a twentieth of all."
    )
    validate_on: Literal["auto", "holdout", "folds"] = _field(
        "auto",
        "Rows on which trials are compared: one part of the training rows, or each in turn; auto takes one part from "
        "100,000 rows on.",
    )
    repeats: Annotated[int, Field(ge=1, le=100)] | Auto = _field(
        "auto", "Times the folds are dealt anew; auto is 2 below 500 rows, else 1."
    )
    goal: Literal["score", "score_and_size"] = _field(
        "score",
        "What is sought: the best score, or all that no other beats both in score and in number of parameters.",
        only={"sampler": ["nsga2"]},
    )
    ensemble: bool = _field(
        True, "Join the trials that do best together into one model.", "Caruana et al. 2004"
    )  # fmt: skip
    simplest: bool = _field(
        False,
        "Instead of the best trial, take the one with fewest parameters within one standard error of it.",
        "Breiman et al. 1984",
    )
    memory: Annotated[float, Field(gt=0)] | Auto = _field(
        "auto", "Most memory, in GiB, for networks and encoded tables; auto is half of what the machine has free."
    )
    deterministic: bool = _field(
        False, "Decide in rounds, so that equal seeds give equal searches on any number of cores; cores wait a little."
    )


class DataSpec(Section):
    """How the table is split and encoded."""

    groups: str = _field(
        "", "Column whose equal values stay on one side of every split, such as a patient's number; not learnt from."
    )
    order: str = _field(
        "", "Column of times or numbers: the test and every validation are on rows that come after those learnt from."
    )

    test_fraction: float = _field(
        0.2, "Share of the rows set aside for the test, never seen in training. 0 for none.", ge=0, lt=1
    )
    numbers: Literal["auto", "piecewise", "robust", "quantile", "standard", "none"] = _field(
        "auto",
        "Encoding of numbers: robust scaling with piecewise-linear parts, without them, quantiles of the normal "
        "distribution, mean 0 and variance 1, or as they are; auto is piecewise, and standard for a perceptron.",
        "Gorishniy et al. 2022 (piecewise); Holzmüller et al. 2024 (robust)",
    )
    bins: Annotated[int, Field(ge=2, le=1024)] | Auto = _field(
        "auto",
        "Most parts of the piecewise-linear encoding of a number.",
        "Gorishniy et al. 2022",
        only={"numbers": ["auto", "piecewise"]},
    )
    max_categories: int = _field(
        64, "Most categories of a column that get an input of their own; the rarer ones share one.", ge=1
    )
    min_category_rows: int = _field(2, "Fewest training rows of a category with an input of its own.", ge=1)
    target_transform: Literal["auto", "none", "log"] = _field(
        "auto", "Transformation of a regression target before it is standardized; auto takes log when it is skewed."
    )
