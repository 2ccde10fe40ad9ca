"""The `network` section of a spec: the architecture and initialization of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import (
    FOR_CNN,
    FOR_DENSE,
    FOR_MLP,
    FOR_PERCEPTRON,
    FOR_RNN,
    Activation,
    Auto,
    Initializer,
    Rule,
    SpecSection,
    hyperparameter_field,
    parse_list,
)


class NetworkSpec(SpecSection):
    """The network."""

    kind: Literal["mlp", "perceptron", "cnn", "rnn", "channel_mlp"] = hyperparameter_field(
        "mlp",
        "The kind of network: a multilayer perceptron; Rosenblatt's single layer of step units; a convolutional "
        "network for images (cnn); a recurrent one for sequences and texts (rnn); or, to learn from, a perceptron "
        "network for each of red, green and blue, whose outputs are joined (channel_mlp). The last three need PyTorch.",
        "Rosenblatt 1958; Rumelhart, Hinton & Williams 1986; LeCun et al. 1998 (cnn); Elman 1990 (rnn)",
    )
    preset: Literal["none", "tiny", "small", "medium", "resnet18"] = hyperparameter_field(
        "none",
        "A whole shape of convolutional network by name, from two layers to that of ResNet-18; what else is asked for "
        "comes first.",
        "He et al. 2016 (resnet18)",
        requires={"kind": ["cnn"]},
    )
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...] | Auto, BeforeValidator(parse_list)] = (
        hyperparameter_field(
            "auto",
            "Channels of each stage of convolutions, first to last, such as 32,64,128; between stages images are "
            "halved.",
            "LeCun et al. 1998",
            requires=FOR_CNN,
        )
    )
    block_layers: Annotated[int, Field(ge=1, le=64)] | Auto = hyperparameter_field(
        "auto", "Convolutions of a stage; with residual, shortcuts go round every two of them.", requires=FOR_CNN
    )
    convolution: Literal["plain", "depthwise"] = hyperparameter_field(
        "plain",
        "Convolutions over all channels, or over each by itself and then over the channels of each pixel.",
        "Howard et al. 2017 (depthwise)",
        requires=FOR_CNN,
    )
    kernel_size: int = hyperparameter_field(
        3, "Pixels, or steps, that a convolution sees at once.", ge=1, le=31, requires=FOR_CNN
    )
    stride: int = hyperparameter_field(
        1, "Pixels from one place of the first convolution to its next.", ge=1, le=8, requires=FOR_CNN
    )
    dilation: int = hyperparameter_field(
        1, "Pixels from one weight of a convolution to its next.", "Yu & Koltun 2016", ge=1, le=16, requires=FOR_CNN
    )
    pooling: Literal["max", "average", "stride"] | Auto = hyperparameter_field(
        "auto",
        "How images are halved between stages: the largest or the mean of four pixels, or a convolution of stride 2; "
        "auto is max.",
        requires=FOR_CNN,
    )
    global_pooling: Literal["last", "mean", "max", "attention", "flatten"] | Auto = hyperparameter_field(
        "auto",
        "What is made of all pixels or steps before the dense head: their mean, the largest, all of them (flatten); of "
        "steps also the last, or a learnt mean (attention). auto is mean for images, max for sequences.",
        "Lin, Chen & Yan 2014 (mean); Bahdanau, Cho & Bengio 2015 (attention)",
        requires={"kind": ["cnn", "rnn"]},
    )
    rnn_cell: Literal["elman", "gru", "lstm"] = hyperparameter_field(
        "lstm",
        "The unit of a recurrent network: Elman's simple one, or with gates.",
        "Elman 1990; Cho et al. 2014 (gru); Hochreiter & Schmidhuber 1997 (lstm)",
        requires=FOR_RNN,
    )
    bidirectional: Annotated[bool, Field()] = hyperparameter_field(
        True,
        "Two recurrent networks in parallel, one from beginning to end, the other from the end to the beginning.",
        "Schuster & Paliwal 1997",
        requires=FOR_RNN,
    )
    recurrent_layers: int = hyperparameter_field(
        1, "Recurrent layers, one upon the other.", ge=1, le=16, requires=FOR_RNN
    )
    recurrent_width: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto", "Units of a recurrent layer, in each direction.", requires=FOR_RNN
    )
    embedding_size: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto", "Numbers that stand for a character, word or subword.", "Bengio et al. 2003",
        requires={"kind": ["cnn", "rnn"]},
    )  # fmt: skip
    perceptron_rule: Rule = hyperparameter_field(
        "rosenblatt",
        "How a perceptron learns from a row: only from mistakes (rosenblatt), and then say the mean of all its states "
        "(averaged), let them vote (voted) or keep the best (pocket); from all rows closer than a margin (margin, "
        "passive_aggressive); from the size of the error (adaline, delta); or by likeness to rows it was mistaken on "
        "(kernel).",
        "Rosenblatt 1958; Freund & Schapire 1999 (averaged, voted); Gallant 1990 (pocket); Crammer et al. 2006 "
        "(passive_aggressive); Widrow & Hoff 1960 (adaline, delta); Aizerman et al. 1964 (kernel)",
        requires=FOR_PERCEPTRON,
    )
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...] | Auto, BeforeValidator(parse_list)] = (
        hyperparameter_field(
            "auto",
            "Units of each hidden layer, first to last, such as 256,256; auto chooses by the number of training rows. "
            "An empty list makes a linear model; of cnn and rnn it is the dense head, which auto leaves empty.",
            requires=FOR_MLP,
        )
    )
    activation: Annotated[tuple[Activation, ...], Field(min_length=1), BeforeValidator(parse_list)] = (
        hyperparameter_field(
            ("relu", "silu"),
            "Activation function of the hidden units; of several, the members of the population take turns.",
            "Nair & Hinton 2010 (relu); Elfwing et al. 2018 (silu)",
            requires=FOR_MLP,
        )
    )
    parametric_activation: bool = hyperparameter_field(
        False,
        "Learn for each hidden unit how much of the activation function there is between its weighted sum and it.",
        "Holzmüller et al. 2024",
        requires=FOR_DENSE,
    )
    normalization: Literal["none", "batch", "layer", "group"] | Auto = hyperparameter_field(
        "auto",
        "Normalize the weighted sums of hidden units, over the rows of a batch, over the units of a layer, or over "
        "groups of channels; auto is batch for convolutions, else none.",
        "Ioffe & Szegedy 2015 (batch); Ba, Kiros & Hinton 2016 (layer); Wu & He 2018 (group)",
        requires=FOR_MLP,
    )
    residual: bool | Auto = hyperparameter_field(
        "auto",
        "Add what enters a hidden layer, or two convolutions, to what leaves it; auto does it for cnn.",
        "He et al. 2016",
        requires={"kind": ["mlp", "cnn", "rnn"]},
    )
    scaling_layer: bool = hyperparameter_field(
        False,
        "Learn a factor for each input, in front of the first layer.",
        "Holzmüller et al. 2024",
        requires=FOR_DENSE,
    )
    initializer: Initializer = hyperparameter_field(
        "he_normal",
        "Distribution of the first weights; data_dependent gives each weighted sum the same variance over the rows.",
        "He et al. 2015; Glorot & Bengio 2010; LeCun et al. 1998; Saxe et al. 2014 (orthogonal)",
        requires=FOR_MLP,
    )
    weight_scale: Annotated[float, Field(ge=0, le=1000)] | Auto = hyperparameter_field(
        "auto",
        "Factor of the first weights: of their standard deviation or limit, or their value; auto is 1, and 0.05 for "
        "constant, uniform and normal.",
        requires=FOR_MLP,
    )
    bias_initializer: Literal["zeros", "constant", "uniform", "normal", "data_dependent"] = hyperparameter_field(
        "zeros",
        "Distribution of the first biases; uniform is divided by the root of the inputs, data_dependent puts each "
        "unit's 0 among the rows.",
        "Holzmüller et al. 2024 (data_dependent)",
        requires=FOR_MLP,
    )
    bias_scale: float = hyperparameter_field(
        1.0,
        "Factor of the first biases, or their value.",
        ge=-1000,
        le=1000,
        requires={"bias_initializer": ["constant", "uniform", "normal", "data_dependent"]},
    )
    kernel: Literal["rbf", "polynomial"] = hyperparameter_field(
        "rbf",
        "Likeness of two rows: e^(-gamma |x - s|^2), or (gamma x s + 1)^degree.",
        "Aizerman et al. 1964",
        requires={"perceptron_rule": ["kernel"]},
    )
    gamma: Annotated[float, Field(gt=0, le=1e6)] | Auto = hyperparameter_field(
        "auto", "Factor in the kernel; auto is 1 / number of inputs.", requires={"perceptron_rule": ["kernel"]}
    )
    degree: int = hyperparameter_field(
        3, "Degree of the polynomial kernel.", ge=1, le=20, requires={"kernel": ["polynomial"]}
    )
    budget: int = hyperparameter_field(
        1000,
        "Most states that vote, of which those that lasted longest are kept; or most rows of a kernel perceptron, of "
        "which one taken at random makes room for the next.",
        "Cavallanti, Cesa-Bianchi & Gentile 2007 (kernel)",
        ge=2,
        le=1_000_000,
        requires={"perceptron_rule": ["voted", "kernel"]},
    )
