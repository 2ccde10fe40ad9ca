"""The `network` section of a spec: the architecture and initialization of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rosenblatt.spec.fields import (
    FOR_CNN_AND_RNN,
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
    """Architecture and initialization of the network."""

    kind: Literal["mlp", "perceptron", "cnn", "rnn", "channel_mlp"] = hyperparameter_field(
        "mlp",
        "Kind of network: mlp (multilayer perceptron), perceptron (Rosenblatt's single layer), cnn "
        "(convolutional, for images), rnn (recurrent, for sequences and texts) or channel_mlp (an mlp for "
        "each color channel of an image). cnn, rnn and channel_mlp need PyTorch.",
        "Rosenblatt 1958; Rumelhart, Hinton & Williams 1986; LeCun et al. 1998 (cnn); Elman 1990 (rnn)",
    )
    preset: Literal["none", "tiny", "small", "medium", "resnet18"] = hyperparameter_field(
        "none",
        "Predefined architecture of a convolutional network, from two layers (tiny) to ResNet-18. "
        "Hyperparameters that you set yourself take precedence.",
        "He et al. 2016 (resnet18)",
        requires={"kind": ["cnn"]},
    )
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...] | Auto, BeforeValidator(parse_list)] = (
        hyperparameter_field(
            "auto",
            "Channels of each stage of convolutions, first to last, such as 32,64,128; the image is halved "
            "between stages. auto is 32,64,128,256.",
            "LeCun et al. 1998",
            requires=FOR_CNN_AND_RNN,
        )
    )
    block_layers: Annotated[int, Field(ge=1, le=64)] | Auto = hyperparameter_field(
        "auto",
        "Number of convolutions per stage; with residual, a shortcut skips every two of them. auto is 2.",
        requires=FOR_CNN_AND_RNN,
    )
    convolution: Literal["plain", "depthwise"] = hyperparameter_field(
        "plain",
        "Type of convolution: plain, or depthwise separable (each channel by itself, then across the "
        "channels of each pixel).",
        "Howard et al. 2017 (depthwise)",
        requires=FOR_CNN_AND_RNN,
    )
    kernel_size: int = hyperparameter_field(
        3, "Kernel size of the convolutions, in pixels or steps.", ge=1, le=31, requires=FOR_CNN_AND_RNN
    )
    stride: int = hyperparameter_field(
        1, "Stride of the first convolution, in pixels or steps.", ge=1, le=8, requires=FOR_CNN_AND_RNN
    )
    dilation: int = hyperparameter_field(
        1,
        "Distance between neighboring weights of a convolution kernel, in pixels or steps.",
        "Yu & Koltun 2016",
        ge=1,
        le=16,
        requires=FOR_CNN_AND_RNN,
    )
    pooling: Literal["max", "average", "stride"] | Auto = hyperparameter_field(
        "auto",
        "How images are halved between stages: maximum or average over 2 x 2 pixels, or a convolution "
        "with stride 2. auto is max.",
        requires=FOR_CNN_AND_RNN,
    )
    global_pooling: Literal["last", "mean", "max", "attention", "flatten"] | Auto = hyperparameter_field(
        "auto",
        "How all pixels or steps become one vector in front of the dense layers: mean, max or flatten; "
        "for steps also the last one, or a weighted mean (attention). auto is max for rnn, else mean.",
        "Lin, Chen & Yan 2014 (mean); Bahdanau, Cho & Bengio 2015 (attention)",
        requires=FOR_CNN_AND_RNN,
    )
    rnn_cell: Literal["elman", "gru", "lstm"] = hyperparameter_field(
        "lstm",
        "Recurrent cell: lstm, gru, or Elman's simple cell without gates.",
        "Elman 1990; Cho et al. 2014 (gru); Hochreiter & Schmidhuber 1997 (lstm)",
        requires=FOR_RNN,
    )
    bidirectional: bool = hyperparameter_field(
        True,
        "Read sequences in both directions, each with recurrent layers of its own.",
        "Schuster & Paliwal 1997",
        requires=FOR_RNN,
    )
    recurrent_layers: int = hyperparameter_field(
        1, "Number of stacked recurrent layers.", ge=1, le=16, requires=FOR_RNN
    )
    recurrent_width: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto",
        "Units of each recurrent layer, per direction. auto is 256, or 64 below 2,000 training rows.",
        requires=FOR_RNN,
    )
    embedding_size: Annotated[int, Field(ge=1, le=4096)] | Auto = hyperparameter_field(
        "auto", "Size of the embedding vector of a token. auto is 64.", "Bengio et al. 2003",
        requires=FOR_CNN_AND_RNN,
    )  # fmt: skip
    perceptron_rule: Rule = hyperparameter_field(
        "rosenblatt",
        "Update rule of a perceptron. On mistakes only: rosenblatt; averaged, voted and pocket predict "
        "with the mean, the vote or the best of its past states; kernel weighs misclassified rows by "
        "their similarity. On small margins too: margin and passive_aggressive. On the size of the error: "
        "adaline and delta.",
        "Rosenblatt 1958; Freund & Schapire 1999 (averaged, voted); Gallant 1990 (pocket); Crammer et al. 2006 "
        "(passive_aggressive); Widrow & Hoff 1960 (adaline, delta); Aizerman et al. 1964 (kernel)",
        requires=FOR_PERCEPTRON,
    )
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...] | Auto, BeforeValidator(parse_list)] = (
        hyperparameter_field(
            "auto",
            "Units of each hidden layer, first to last, such as 256,256; an empty list gives a linear model. "
            "For cnn and rnn, the dense layers after the convolutions or recurrent layers. auto is two layers "
            "of 128, 256 or 512 units for mlp by the number of training rows, 128,64 for channel_mlp, and "
            "none for cnn and rnn.",
            requires=FOR_MLP,
        )
    )
    activation: Annotated[tuple[Activation, ...], Field(min_length=1), BeforeValidator(parse_list)] = (
        hyperparameter_field(
            ("relu", "silu"),
            "Activation function of the hidden units, such as relu, gelu or tanh. If you list several, the "
            "networks of the population take turns.",
            "Nair & Hinton 2010 (relu); Elfwing et al. 2018 (silu)",
            requires=FOR_MLP,
        )
    )
    parametric_activation: bool = hyperparameter_field(
        False,
        "Train, for each hidden unit, a parameter that blends the activation function with the identity.",
        "Holzmüller et al. 2024",
        requires=FOR_DENSE,
    )
    normalization: Literal["none", "batch", "layer", "group"] | Auto = hyperparameter_field(
        "auto",
        "Normalization of hidden layers: over the rows of a batch (batch), over the units of a layer "
        "(layer), or over groups of channels (group). auto is batch for cnn, else none.",
        "Ioffe & Szegedy 2015 (batch); Ba, Kiros & Hinton 2016 (layer); Wu & He 2018 (group)",
        requires=FOR_MLP,
    )
    residual: bool | Auto = hyperparameter_field(
        "auto",
        "Add the input of each hidden layer (in a cnn, of every two convolutions) to its output. auto is "
        "true for cnn, else false.",
        "He et al. 2016",
        requires={"kind": ["mlp", "cnn", "rnn"]},
    )
    scaling_layer: bool = hyperparameter_field(
        False,
        "Multiply each input by a trained factor in front of the first layer.",
        "Holzmüller et al. 2024",
        requires=FOR_DENSE,
    )
    initializer: Initializer = hyperparameter_field(
        "he_normal",
        "Initial distribution of the weights. data_dependent scales each unit to unit variance over the training rows.",
        "He et al. 2015; Glorot & Bengio 2010; LeCun et al. 1998; Saxe et al. 2014 (orthogonal)",
        requires=FOR_MLP,
    )
    weight_scale: Annotated[float, Field(ge=0, le=1000)] | Auto = hyperparameter_field(
        "auto",
        "Scale of the initial weights: multiplies their standard deviation or limits, or is their value "
        "(constant). auto is 1, or 0.05 for constant, uniform and normal.",
        requires=FOR_MLP,
    )
    bias_initializer: Literal["zeros", "constant", "uniform", "normal", "data_dependent"] = hyperparameter_field(
        "zeros",
        "Initial distribution of the biases. uniform is divided by the square root of the number of "
        "inputs; data_dependent places the zero of each weighted sum among the training rows.",
        "Holzmüller et al. 2024 (data_dependent)",
        requires=FOR_MLP,
    )
    bias_scale: float = hyperparameter_field(
        1.0,
        "Scale of the initial biases, or their value (constant).",
        ge=-1000,
        le=1000,
        requires={"bias_initializer": ["constant", "uniform", "normal", "data_dependent"]},
    )
    kernel: Literal["rbf", "polynomial"] = hyperparameter_field(
        "rbf",
        "Kernel of a kernel perceptron: rbf is exp(-gamma |x - s|^2), polynomial is (gamma x s + 1)^degree.",
        "Aizerman et al. 1964",
        requires={"perceptron_rule": ["kernel"]},
    )
    gamma: Annotated[float, Field(gt=0, le=1e6)] | Auto = hyperparameter_field(
        "auto", "Coefficient of the kernel. auto is 1 / number of inputs.", requires={"perceptron_rule": ["kernel"]}
    )
    degree: int = hyperparameter_field(
        3, "Degree of the polynomial kernel.", ge=1, le=20, requires={"kernel": ["polynomial"]}
    )
    budget: int = hyperparameter_field(
        1000,
        "Maximum number of past states that vote (voted keeps those that lasted longest) or of support "
        "rows (kernel replaces a random one).",
        "Cavallanti, Cesa-Bianchi & Gentile 2007 (kernel)",
        ge=2,
        le=1_000_000,
        requires={"perceptron_rule": ["voted", "kernel"]},
    )
