"""In: the hyperparameters of a network. Out: a frozen, validated section of a spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import (
    CNN,
    DENSE,
    MLP,
    PERCEPTRON,
    RNN,
    Activation,
    Auto,
    Initializer,
    Rule,
    Section,
    described,
    split,
)


class NetworkSpec(Section):
    """The network."""

    kind: Literal["mlp", "perceptron", "cnn", "rnn", "channel_mlp"] = described(
        "mlp",
        "The kind of network: a multilayer perceptron; Rosenblatt's single layer of step units; a convolutional "
        "network for images (cnn); a recurrent one for sequences and texts (rnn); or, to learn from, a perceptron "
        "network for each of red, green and blue, whose outputs are joined (channel_mlp). The last three need PyTorch.",
        "Rosenblatt 1958; Rumelhart, Hinton & Williams 1986; LeCun et al. 1998 (cnn); Elman 1990 (rnn)",
    )
    preset: Literal["none", "tiny", "small", "medium", "resnet18"] = described(
        "none",
        "A whole shape of convolutional network by name, from two layers to that of ResNet-18; what else is asked for "
        "comes first.",
        "He et al. 2016 (resnet18)",
        only={"kind": ["cnn"]},
    )
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...] | Auto, BeforeValidator(split)] = described(
        "auto",
        "Channels of each stage of convolutions, first to last, such as 32,64,128; between stages images are halved.",
        "LeCun et al. 1998",
        only=CNN,
    )
    block_layers: Annotated[int, Field(ge=1, le=64)] | Auto = described(
        "auto", "Convolutions of a stage; with residual, shortcuts go round every two of them.", only=CNN
    )
    convolution: Literal["plain", "depthwise"] = described(
        "plain",
        "Convolutions over all channels, or over each by itself and then over the channels of each pixel.",
        "Howard et al. 2017 (depthwise)",
        only=CNN,
    )
    kernel_size: int = described(3, "Pixels, or steps, that a convolution sees at once.", ge=1, le=31, only=CNN)
    stride: int = described(1, "Pixels from one place of the first convolution to its next.", ge=1, le=8, only=CNN)
    dilation: int = described(
        1, "Pixels from one weight of a convolution to its next.", "Yu & Koltun 2016", ge=1, le=16, only=CNN
    )
    pooling: Literal["max", "average", "stride"] | Auto = described(
        "auto",
        "How images are halved between stages: the largest or the mean of four pixels, or a convolution of stride 2; "
        "auto is max.",
        only=CNN,
    )
    summary: Literal["last", "mean", "max", "attention", "flatten"] | Auto = described(
        "auto",
        "What is made of all pixels or steps before the dense head: their mean, the largest, all of them (flatten); of "
        "steps also the last, or a learnt mean (attention). auto is mean for images, max for sequences.",
        "Lin, Chen & Yan 2014 (mean); Bahdanau, Cho & Bengio 2015 (attention)",
        only={"kind": ["cnn", "rnn"]},
    )
    cell: Literal["elman", "gru", "lstm"] = described(
        "lstm",
        "The unit of a recurrent network: Elman's simple one, or with gates.",
        "Elman 1990; Cho et al. 2014 (gru); Hochreiter & Schmidhuber 1997 (lstm)",
        only=RNN,
    )
    bidirectional: Annotated[bool, Field()] = described(
        True,
        "Two recurrent networks in parallel, one from beginning to end, the other from the end to the beginning.",
        "Schuster & Paliwal 1997",
        only=RNN,
    )
    recurrent_layers: int = described(1, "Recurrent layers, one upon the other.", ge=1, le=16, only=RNN)
    recurrent_width: Annotated[int, Field(ge=1, le=4096)] | Auto = described(
        "auto", "Units of a recurrent layer, in each direction.", only=RNN
    )
    embedding_size: Annotated[int, Field(ge=1, le=4096)] | Auto = described(
        "auto", "Numbers that stand for a character, word or subword.", "Bengio et al. 2003",
        only={"kind": ["cnn", "rnn"]},
    )  # fmt: skip
    rule: Rule = described(
        "rosenblatt",
        "How a perceptron learns from a row: only from mistakes (rosenblatt), and then say the mean of all its states "
        "(averaged), let them vote (voted) or keep the best (pocket); from all rows closer than a margin (margin, "
        "passive_aggressive); from the size of the error (adaline, delta); or by likeness to rows it was mistaken on "
        "(kernel).",
        "Rosenblatt 1958; Freund & Schapire 1999 (averaged, voted); Gallant 1990 (pocket); Crammer et al. 2006 "
        "(passive_aggressive); Widrow & Hoff 1960 (adaline, delta); Aizerman et al. 1964 (kernel)",
        only=PERCEPTRON,
    )
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...] | Auto, BeforeValidator(split)] = (
        described(
            "auto",
            "Units of each hidden layer, first to last, such as 256,256; auto chooses by the number of training rows. "
            "An empty list makes a linear model; of cnn and rnn it is the dense head, which auto leaves empty.",
            only=MLP,
        )
    )
    activation: Annotated[tuple[Activation, ...], Field(min_length=1), BeforeValidator(split)] = described(
        ("relu", "silu"),
        "Activation function of the hidden units; of several, the members of the population take turns.",
        "Nair & Hinton 2010 (relu); Elfwing et al. 2018 (silu)",
        only=MLP,
    )
    parametric: bool = described(
        False,
        "Learn for each hidden unit how much of the activation function there is between its weighted sum and it.",
        "Holzmüller et al. 2024",
        only=DENSE,
    )
    normalization: Literal["none", "batch", "layer", "group"] | Auto = described(
        "auto",
        "Normalize the weighted sums of hidden units, over the rows of a batch, over the units of a layer, or over "
        "groups of channels; auto is batch for convolutions, else none.",
        "Ioffe & Szegedy 2015 (batch); Ba, Kiros & Hinton 2016 (layer); Wu & He 2018 (group)",
        only=MLP,
    )
    residual: bool | Auto = described(
        "auto",
        "Add what enters a hidden layer, or two convolutions, to what leaves it; auto does it for cnn.",
        "He et al. 2016",
        only={"kind": ["mlp", "cnn", "rnn"]},
    )
    front_scale: bool = described(
        False, "Learn a factor for each input, in front of the first layer.", "Holzmüller et al. 2024", only=DENSE
    )
    initializer: Initializer = described(
        "he_normal",
        "Distribution of the first weights; data_dependent gives each weighted sum the same variance over the rows.",
        "He et al. 2015; Glorot & Bengio 2010; LeCun et al. 1998; Saxe et al. 2014 (orthogonal)",
        only=MLP,
    )
    weight_scale: Annotated[float, Field(ge=0, le=1000)] | Auto = described(
        "auto",
        "Factor of the first weights: of their standard deviation or limit, or their value; auto is 1, and 0.05 for "
        "constant, uniform and normal.",
        only=MLP,
    )
    bias_initializer: Literal["zeros", "constant", "uniform", "normal", "data_dependent"] = described(
        "zeros",
        "Distribution of the first biases; uniform is divided by the root of the inputs, data_dependent puts each "
        "unit's 0 among the rows.",
        "Holzmüller et al. 2024 (data_dependent)",
        only=MLP,
    )
    bias_scale: float = described(
        1.0,
        "Factor of the first biases, or their value.",
        ge=-1000,
        le=1000,
        only={"bias_initializer": ["constant", "uniform", "normal", "data_dependent"]},
    )
    kernel: Literal["rbf", "polynomial"] = described(
        "rbf",
        "Likeness of two rows: e^(-gamma |x - s|^2), or (gamma x s + 1)^degree.",
        "Aizerman et al. 1964",
        only={"rule": ["kernel"]},
    )
    gamma: Annotated[float, Field(gt=0, le=1e6)] | Auto = described(
        "auto", "Factor in the kernel; auto is 1 / number of inputs.", only={"rule": ["kernel"]}
    )
    degree: int = described(3, "Degree of the polynomial kernel.", ge=1, le=20, only={"kernel": ["polynomial"]})
    budget: int = described(
        1000,
        "Most states that vote, of which those that lasted longest are kept; or most rows of a kernel perceptron, of "
        "which one taken at random makes room for the next.",
        "Cavallanti, Cesa-Bianchi & Gentile 2007 (kernel)",
        ge=2,
        le=1_000_000,
        only={"rule": ["voted", "kernel"]},
    )
