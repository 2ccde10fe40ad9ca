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
NORMALIZATIONS = {"mlp": ("none", "batch", "layer"), "rnn": ("none", "layer"), "channel_mlp": ("none",)}


def check_inputs(spec: Spec, media: Sequence[str], target: Target) -> None:
    """Raise SpecError where a network, or a hyperparameter, is not for rows with such media (image, text, sequence)."""
    kind = spec.network.kind
    if kind in DEEP_KINDS and not media:
        raise SpecError(
            f"A network of kind {kind} learns from images, sequences or texts, but there is no such column. On the "
            "command line, say which column is text with --text; or use another kind of network."
        )
    if kind not in DEEP_KINDS and media:
        raise SpecError(f"A network of kind {kind} cannot learn from images, sequences or texts. Use cnn or rnn.")
    if target.is_per_step and kind != "rnn":
        raise SpecError(f"Where each step has its answer, the network must be of kind rnn, but it is {kind}.")
    if kind in DEEP_KINDS:
        for name, required_media in _media_specific_hyperparameters(kind):
            if spec[name] != HYPERPARAMETERS[name].default and not set(required_media) & set(media):
                raise SpecError(f"{name} is for {' and '.join(f'{medium}s' for medium in required_media)}, but the "
                                f"rows hold {_format_media(media)}. Leave it out.")  # fmt: skip
    if spec.training.mixup > 0 and set(media) - {"image"}:
        raise SpecError(f"mixup mixes images, but the rows hold {_format_media(media)}. Leave it out.")
    if spec.network.global_pooling == "flatten" and set(media) - {"image"}:
        raise SpecError(
            f"global_pooling flatten takes all pixels of an image, but the rows hold {_format_media(media)}. Use mean "
            "or max."
        )


def _media_specific_hyperparameters(kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Hyperparameters of deep networks that mean something for some media only, and these."""
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
    """Raise SpecError where hyperparameters, or hyperparameters and task, cannot be combined."""
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
        raise SpecError(f"perceptron_rule {rule} finds the length of its steps itself. Leave learning_rate out.")
    if spec.training.multiclass == "crammer_singer" and (rule in ONE_VS_REST_RULES or rule.startswith("passive")):
        raise SpecError(f"perceptron_rule {rule} cannot be combined with multiclass crammer_singer. Leave that out.")
    if spec.training.batch_order == "stratified":
        raise SpecError(
            "batch_order stratified shares out classes, but a perceptron learns row by row. Use shuffled or in_order."
        )


def _check_network(spec: Spec, resolved_spec: Spec) -> None:
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
    unsupported_pooling = {"cnn": ("last", "attention"), "rnn": ("flatten",)}.get(kind, ())
    if network.global_pooling in unsupported_pooling:
        raise SpecError(f"global_pooling {network.global_pooling} is not for kind {kind}. Use mean or max.")
    if kind in DEEP_KINDS and "data_dependent" in (network.initializer, network.bias_initializer):
        raise SpecError(f"The initializer data_dependent is not for kind {kind}. Choose another, such as he_normal.")
    if resolved_spec.network.normalization == "batch" and resolved_spec["batch_size"] == 1:
        raise SpecError("normalization batch needs more rows than one in a batch, but batch_size is 1. Use layer.")


def _check_task(resolved_spec: Spec, target: Target) -> None:
    """Of a network and what it is taught."""
    training, task = resolved_spec.training, target.task
    if training.batch_order == "stratified" and task not in ("binary", "multiclass"):
        raise SpecError(f"batch_order stratified shares out classes, but the task is {task}. Use shuffled or in_order.")
    if target.is_per_step and training.scoring != "loss":
        raise SpecError(f"scoring must be loss where each step has its answer, but it is {training.scoring}.")
    if task == "tagging" and resolved_spec.data.max_length != "auto":
        raise SpecError("max_length cuts rows, but each of their steps has its tag. Leave it out.")
    if resolved_spec["label_smoothing"] > 0 and "cross_entropy" not in target.loss:
        raise SpecError(f"label_smoothing is for the loss cross_entropy, but the loss is {target.loss}. Leave it out.")
