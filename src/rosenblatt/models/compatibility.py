"""In: hyperparameters, what the rows hold, what is asked of them. Out: nothing, or why these cannot be combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rosenblatt.data.tasks.target import ALONE, Target
from rosenblatt.errors import SpecError
from rosenblatt.spec.defaults import DEEP
from rosenblatt.spec.fields import IMAGES
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec, idle

OF_TEXTS = ("embedding_size", "tokens", "vocabulary", "min_token_count")
OF_CONVOLUTIONS = (
    "channels", "block_layers", "convolution", "kernel_size", "stride", "dilation", "pooling", "residual",
)  # fmt: skip
NORMALIZATIONS = {"mlp": ("none", "batch", "layer"), "rnn": ("none", "layer"), "channel_mlp": ("none",)}


def check_media(spec: Spec, media: Sequence[str], target: Target) -> None:
    """Raise SpecError where a network, or a hyperparameter, is not for rows with such media (image, text, sequence)."""
    kind = spec.network.kind
    if kind in DEEP and not media:
        raise SpecError(
            f"A network of kind {kind} learns from images, sequences or texts, but there is no such column. On the "
            "command line, say which column is text with --text; or use another kind of network."
        )
    if kind not in DEEP and media:
        raise SpecError(f"A network of kind {kind} cannot learn from images, sequences or texts. Use cnn or rnn.")
    if target.each_step and kind != "rnn":
        raise SpecError(f"Where each step has its answer, the network must be of kind rnn, but it is {kind}.")
    if kind in DEEP:
        for name, needed in _meant_for(kind):
            if spec[name] != HYPERPARAMETERS[name].default and not set(needed) & set(media):
                raise SpecError(f"{name} is for {' and '.join(f'{one}s' for one in needed)}, but the rows hold "
                                f"{_in_words(media)}. Leave it out.")  # fmt: skip
    if spec.training.mixup > 0 and set(media) - {"image"}:
        raise SpecError(f"mixup mixes images, but the rows hold {_in_words(media)}. Leave it out.")
    if spec.network.summary == "flatten" and set(media) - {"image"}:
        raise SpecError(
            f"summary flatten takes all pixels of an image, but the rows hold {_in_words(media)}. Use mean or max."
        )


def _meant_for(kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Hyperparameters of deep networks that mean something for some media only, and these."""
    yield from ((name, ("text",)) for name in OF_TEXTS)
    yield "max_length", ("text", "sequence")
    if kind == "rnn":
        yield from ((name, ("image",)) for name in OF_CONVOLUTIONS)
    else:
        yield from ((name, ("image",)) for name, known in HYPERPARAMETERS.items() if known.only == IMAGES)


def _in_words(media: Sequence[str]) -> str:
    return " and ".join(f"{one}s" for one in sorted(set(media)))


def check(spec: Spec, chosen: Spec, target: Target) -> None:
    """Raise SpecError where hyperparameters, or hyperparameters and task, cannot be combined; `chosen` is resolved."""
    nonsense = idle(spec)
    if nonsense:
        raise SpecError(nonsense)
    if spec.network.kind == "perceptron":
        _check_perceptron(spec)
    else:
        _check_network(spec, chosen)
        _check_task(chosen, target)


def _check_perceptron(spec: Spec) -> None:
    rule = spec.network.rule
    if rule.startswith("passive") and spec.training.learning_rate != "auto":
        raise SpecError(f"The rule {rule} finds the length of its steps itself. Leave learning_rate out.")
    if spec.training.multiclass == "crammer_singer" and (rule in ALONE or rule.startswith("passive")):
        raise SpecError(f"The rule {rule} cannot be combined with multiclass crammer_singer. Leave that out.")
    if spec.training.batches == "stratified":
        raise SpecError(
            "batches stratified shares out classes, but a perceptron learns row by row. Use shuffled or in_order."
        )


def _check_network(spec: Spec, chosen: Spec) -> None:
    """Of one kind of network."""
    kind, network, training = spec.network.kind, spec.network, spec.training
    allowed = NORMALIZATIONS.get(kind)
    if allowed and network.normalization not in ("auto", *allowed):
        raise SpecError(f"normalization {network.normalization} is not for kind {kind}. Choose one of "
                        f"{', '.join(allowed)}.")  # fmt: skip
    if kind == "mlp" and training.device == "cpu" and training.precision == "mixed":
        raise SpecError(
            "precision mixed is for what PyTorch trains: cnn and rnn, or any network on a GPU. Leave it out."
        )
    other = {"cnn": ("last", "attention"), "rnn": ("flatten",)}.get(kind, ())
    if network.summary in other:
        raise SpecError(f"summary {network.summary} is not for kind {kind}. Use mean or max.")
    if kind in DEEP and "data_dependent" in (network.initializer, network.bias_initializer):
        raise SpecError(f"The initializer data_dependent is not for kind {kind}. Choose another, such as he_normal.")
    if chosen.network.normalization == "batch" and chosen["batch_size"] == 1:
        raise SpecError("normalization batch needs more rows than one in a batch, but batch_size is 1. Use layer.")


def _check_task(chosen: Spec, target: Target) -> None:
    """Of a network and what it is taught."""
    training, task = chosen.training, target.task
    if training.batches == "stratified" and task not in ("binary", "multiclass"):
        raise SpecError(f"batches stratified shares out classes, but the task is {task}. Use shuffled or in_order.")
    if target.each_step and training.scoring != "loss":
        raise SpecError(f"scoring must be loss where each step has its answer, but it is {training.scoring}.")
    if task == "tagging" and chosen.data.max_length != "auto":
        raise SpecError("max_length cuts rows, but each of their steps has its tag. Leave it out.")
    if chosen["label_smoothing"] > 0 and "cross_entropy" not in target.loss:
        raise SpecError(f"label_smoothing is for the loss cross_entropy, but the loss is {target.loss}. Leave it out.")
