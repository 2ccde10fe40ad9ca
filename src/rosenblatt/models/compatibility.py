"""Check that hyperparameters, input columns and task can be combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rosenblatt.data.tasks.target import ONE_VS_REST_RULES, Target
from rosenblatt.errors import SpecError
from rosenblatt.spec.fields import DEEP_KINDS, FOR_IMAGES
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec, unused_hyperparameter_error

TEXT_HYPERPARAMETERS = ("embedding_size", "tokens", "max_vocabulary", "min_token_count")
CONVOLUTION_HYPERPARAMETERS = (
    "channels", "block_layers", "convolution", "kernel_size", "stride", "dilation", "pooling", "residual",
)  # fmt: skip
NORMALIZATIONS = {  # of each kind; others allow all
    "mlp": ("none", "batch", "layer"),
    "rnn": ("none", "layer"),
    "channel_mlp": ("none",),
}


def check_inputs(spec: Spec, media: Sequence[str], target: Target) -> None:
    """Raise SpecError if the network or a hyperparameter cannot be used with these media (image, text, sequence)."""
    kind = spec.network.kind
    if kind in DEEP_KINDS and not media:
        raise SpecError(
            f"A network of kind {kind} needs a column of images, sequences or texts, but there is none. Name a column "
            "of texts (--text on the command line), or use another kind of network."
        )
    if kind not in DEEP_KINDS and media:
        raise SpecError(f"A network of kind {kind} has no inputs for images, sequences or texts. Use cnn or rnn.")
    if target.is_per_step and kind != "rnn":
        raise SpecError(f"Predicting every step of a sequence needs a network of kind rnn, but it is {kind}. Use rnn.")
    if kind in DEEP_KINDS:
        for name, required_media in _media_specific_hyperparameters(kind):
            if spec[name] != HYPERPARAMETERS[name].default and not set(required_media) & set(media):
                raise SpecError(f"{name} is for {' and '.join(f'{medium}s' for medium in required_media)}, but the "
                                f"rows hold {_format_media(media)}. Remove it.")  # fmt: skip
    if spec.training.mixup > 0 and set(media) - {"image"}:
        raise SpecError(f"mixup is for images, but the rows hold {_format_media(media)}. Remove it.")
    if spec.network.global_pooling == "flatten" and set(media) - {"image"}:
        raise SpecError(
            f"global_pooling flatten is for images, but the rows hold {_format_media(media)}. Use mean or max."
        )


def _media_specific_hyperparameters(kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Hyperparameters of deep networks that have an effect for some media only, each with these media."""
    yield from ((name, ("text",)) for name in TEXT_HYPERPARAMETERS)
    yield "max_length", ("text", "sequence")
    if kind == "rnn":
        yield from ((name, ("image",)) for name in CONVOLUTION_HYPERPARAMETERS)
    else:
        yield from (
            (name, ("image",))
            for name, hyperparameter in HYPERPARAMETERS.items()
            if hyperparameter.requires == FOR_IMAGES
        )


def _format_media(media: Sequence[str]) -> str:
    return " and ".join(f"{medium}s" for medium in sorted(set(media)))


def check_compatibility(spec: Spec, resolved_spec: Spec, target: Target) -> None:
    """Raise SpecError if hyperparameters cannot be combined with each other or with the task."""
    message = unused_hyperparameter_error(spec)
    if message:
        raise SpecError(message)
    if spec.network.kind == "perceptron":
        _check_perceptron(spec)
    else:
        _check_network(spec, resolved_spec)
        _check_task(resolved_spec, target)


def _check_perceptron(spec: Spec) -> None:
    rule = spec.network.perceptron_rule
    if rule.startswith("passive") and spec.training.learning_rate != "auto":
        raise SpecError(f"perceptron_rule {rule} computes its own step sizes. Remove learning_rate.")
    if spec.training.multiclass == "crammer_singer" and (rule in ONE_VS_REST_RULES or rule.startswith("passive")):
        raise SpecError(f"perceptron_rule {rule} cannot be combined with multiclass crammer_singer. Remove multiclass.")
    if spec.training.batch_order == "stratified":
        raise SpecError(
            "batch_order stratified needs batches, but a perceptron is trained row by row. Use shuffled or in_order."
        )


def _check_network(spec: Spec, resolved_spec: Spec) -> None:
    """Check a network other than a perceptron."""
    kind, network, training = spec.network.kind, spec.network, spec.training
    allowed = NORMALIZATIONS.get(kind)
    if allowed and network.normalization not in ("auto", *allowed):
        raise SpecError(f"normalization {network.normalization} is not available for kind {kind}. Choose one of "
                        f"{', '.join(allowed)}.")  # fmt: skip
    if kind == "mlp" and training.device == "cpu" and training.precision == "mixed":
        raise SpecError("precision mixed needs PyTorch as the engine: kind cnn or rnn, or a GPU. Remove precision.")
    unsupported_pooling = {"cnn": ("last", "attention"), "rnn": ("flatten",)}.get(kind, ())
    if network.global_pooling in unsupported_pooling:
        raise SpecError(f"global_pooling {network.global_pooling} is not available for kind {kind}. Use mean or max.")
    if kind in DEEP_KINDS and "data_dependent" in (network.initializer, network.bias_initializer):
        raise SpecError(
            f"The initializer data_dependent is not available for kind {kind}. Choose another, such as he_normal."
        )
    if resolved_spec.network.normalization == "batch" and resolved_spec["batch_size"] == 1:
        raise SpecError("normalization batch needs batches of two or more rows, but batch_size is 1. Use layer.")


def _check_task(resolved_spec: Spec, target: Target) -> None:
    """Check a network against its task."""
    training, task = resolved_spec.training, target.task
    if training.batch_order == "stratified" and task not in ("binary", "multiclass"):
        raise SpecError(
            f"batch_order stratified needs a task with classes, but the task is {task}. Use shuffled or in_order."
        )
    if target.is_per_step and training.scoring != "loss":
        raise SpecError(f"scoring must be loss for predictions of every step, but it is {training.scoring}.")
    if task == "tagging" and resolved_spec.data.max_length != "auto":
        raise SpecError("max_length would cut tagged steps off the rows. Remove it.")
    if resolved_spec["label_smoothing"] > 0 and "cross_entropy" not in target.loss:
        raise SpecError(f"label_smoothing needs the loss cross_entropy, but the loss is {target.loss}. Remove it.")
