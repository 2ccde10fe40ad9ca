"""Write a model to a safetensors file with a description in JSON, and read it back.

The tensors are `network.N.layer.L.weight` (inputs, units), `.bias` (units,) and the other parameters of the
architecture, and `training_rows` (k,), the hashes of training rows. The metadata key `rosenblatt` holds a JSON object
with spec, schema, metadata, and for each trial its hyperparameters, weight, encoder and target. Nothing in the file is
executed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError, SpecError
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.models.training_rows import DEFAULT_IMAGE_HASH, TrainingRows
from rosenblatt.networks.deep import architecture_from_dict
from rosenblatt.spec.spec import Spec

FORMAT = 6  # increased whenever older versions cannot read the files of this one
OLDEST_READABLE_FORMAT = 6  # oldest format that this version reads
TRAINING_ROWS = "training_rows"  # tensor of hashes
DESCRIPTION_CHECKSUM = "description_checksum"
MAX_REASON_LENGTH = 200  # characters of an error in a message
IMAGE_HASH = "image_hash"  # entry of models of images of a volume: how images are hashed in hashes of rows
_ENTRIES = (
    "format", "spec", "schema", "trials", "metadata", "has_all_training_rows", IMAGE_HASH, "checksum",
    DESCRIPTION_CHECKSUM,
)  # fmt: skip
_INVALID = (  # errors from a description that is no longer that of a model
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RecursionError,
    MemoryError,
    SpecError,
)


def to_bytes(model: Model) -> bytes:
    """Return the content of a model file."""
    tensors = {
        f"network.{n}.layer.{layer}.{name}": parameter
        for n, network in enumerate(model.networks)
        for (layer, name), parameter in network.architecture.parameters_by_name(network.theta).items()
    }
    rows = model.training_rows
    tensors |= {TRAINING_ROWS: rows.hashes} if rows else {}
    description = {
        "format": FORMAT,
        "spec": model.spec.model_dump(mode="json"),
        "schema": model.schema.model_dump(mode="json"),
        "trials": [_trial_metadata(trial) for trial in model.trials],
        "metadata": model.metadata.to_json(),
        "has_all_training_rows": bool(rows and rows.is_complete),
        "checksum": _checksum(tensors),
    }
    description |= {IMAGE_HASH: rows.image_hash} if rows and rows.image_hash != DEFAULT_IMAGE_HASH else {}
    description[DESCRIPTION_CHECKSUM] = _text_checksum(description)
    return save(tensors, metadata={"rosenblatt": json.dumps(description)})


def _trial_metadata(trial: TrainedTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "weight": trial.weight,
        "resolved_spec": trial.resolved_spec.model_dump(mode="json"),
        "encoder": trial.encoder.model_dump(mode="json"),
        "target": trial.target.model_dump(mode="json"),
        "networks": [
            {
                "architecture": asdict(network.architecture),
                "best_epoch": network.best_epoch,
                "losses": network.losses,
                "scores": network.scores,
            }
            for network in trial.networks
        ],
    }


def is_model_file(path: str | Path) -> bool:
    """Whether a file looks like a model file, by its name or first bytes (safetensors: a length, then JSON)."""
    if str(path).endswith(".rosenblatt"):
        return True
    if not Path(path).is_file():  # reading from a pipe would consume its first bytes
        return False
    try:
        with Path(path).open("rb") as file:
            header = file.read(9)
    except OSError:
        return False
    return header[8:] == b"{" and header[4:8] == bytes(4)


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Raises ModelFileError if it is missing, damaged, not a model, or of a version that cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("rosenblatt")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise ModelFileError(f"There is no model file {str(path)!r}. Check its name and folder.") from None
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # the last two: types that NumPy lacks
        raise ModelFileError(
            f"{str(path)!r} is not a Rosenblatt model, or incomplete ({error}). Use a file that `rosenblatt fit` wrote."
        ) from error
    if text is None:
        raise ModelFileError(f"{str(path)!r} holds tensors of another program. Use a file that `rosenblatt fit` wrote.")
    try:
        description = json.loads(text)
        if description["format"] > FORMAT:
            raise ModelFileError(
                f"{str(path)!r} was written by a later version of Rosenblatt. Update Rosenblatt to read it."
            )
        if description["format"] < OLDEST_READABLE_FORMAT:
            raise ModelFileError(
                f"{str(path)!r} was written by an early version of Rosenblatt and cannot be read. Fit the model again."
            )
        if description["checksum"] != _checksum(tensors):
            raise ModelFileError(f"{str(path)!r} is damaged: its weights do not match their checksum. Use a backup.")
        model = _build_model(description, tensors)
        _check_description(description)
    except _INVALID as error:
        raise ModelFileError(
            f"{str(path)!r} is damaged: its description is invalid ({_reason(error)}). Use a backup."
        ) from error
    return model


def prediction_digest(model: Model, frame: pl.DataFrame) -> str:
    """Return a hash of the predictions for these rows."""
    return hashlib.sha256(model.predict_raw(frame).tobytes()).hexdigest()


def print_digest(model: str, rows: str) -> None:
    """Print the hash of the predictions of a model file for the rows of an Arrow file; run in a new process."""
    print(prediction_digest(load_model(model), pl.read_ipc(rows)))


def _build_model(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    trials, n = [], 0
    for trial in description["trials"]:
        networks = _build_networks(trial["networks"], tensors, n)
        n += len(networks)
        trials.append(
            TrainedTrial(
                Spec.from_dict(trial["resolved_spec"]),
                Encoder.model_validate(trial["encoder"]),
                Target.model_validate(trial["target"]),
                networks,
                trial["weight"],
                trial["number"],
            )
        )
    return Model(
        Spec.from_dict(description["spec"]),
        Schema.model_validate(description["schema"]),
        tuple(trials),
        ModelMetadata.model_validate(description["metadata"]),
        TrainingRows(
            tensors[TRAINING_ROWS],
            description["has_all_training_rows"],
            description.get(IMAGE_HASH, DEFAULT_IMAGE_HASH),
        )
        if TRAINING_ROWS in tensors
        else None,
    )


def _build_networks(
    network_metadata: list[dict[str, Any]], tensors: dict[str, np.ndarray], first_index: int
) -> tuple[TrainedNetwork, ...]:
    """Build the networks of a trial, whose tensors are numbered from `first_index`."""
    networks = []
    for n, network in enumerate(network_metadata, first_index):
        architecture = architecture_from_dict(network["architecture"])
        n_stored = sum(tensor.size for name, tensor in tensors.items() if name.startswith(f"network.{n}."))
        if architecture.n_parameters != n_stored:  # checked before memory is allocated
            raise ValueError(
                f"network {n} has {n_stored:,} parameters, but {architecture.n_parameters:,} are described"
            )
        theta = np.empty(architecture.n_parameters, np.float32)
        for (layer, name), parameter in architecture.parameters_by_name(theta).items():
            parameter[:] = tensors[f"network.{n}.layer.{layer}.{name}"]
        networks.append(
            TrainedNetwork(
                architecture, theta, network["best_epoch"], tuple(network["losses"]), tuple(network["scores"])
            )
        )
    return tuple(networks)


def _reason(error: Exception) -> str:
    """The first problem of an error, in one line."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"[:MAX_REASON_LENGTH]
    return next(iter(str(error).splitlines()), "")[:MAX_REASON_LENGTH] or type(error).__name__


def _check_description(description: dict[str, Any]) -> None:
    """Raise ValueError if a description was changed; files of earlier versions have no checksum of it."""
    unknown = description.keys() - set(_ENTRIES)
    if unknown or description.get(DESCRIPTION_CHECKSUM) not in (None, _text_checksum(description)):
        raise ValueError("it does not match its checksum")


def _text_checksum(description: dict[str, Any]) -> str:
    entries = {name: value for name, value in description.items() if name != DESCRIPTION_CHECKSUM}
    return hashlib.blake2b(json.dumps(entries).encode(), digest_size=16).hexdigest()


def _checksum(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
