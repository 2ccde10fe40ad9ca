"""In: hyperparameters as keyword arguments, a TOML file or JSON. Out: a frozen, validated description of a fit.

Every hyperparameter is described here once: name, limits, default, help and source. The command line's options, the
estimators' arguments and docs/hyperparameters.md are made from these descriptions.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rosenblatt.errors import SpecError, nearest

Activation = Literal[
    "identity", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus"
]
Task = Literal["binary", "multiclass", "multilabel", "regression"]
Auto = Literal["auto"]


def _field(default: Any, help: str, source: str = "", *, of_mlp: bool = False, **limits: Any) -> Any:
    return Field(default, description=help, json_schema_extra={"source": source, "of_mlp": of_mlp}, **limits)


def _split(value: Any) -> Any:
    """Lists written as text, as on the command line: '64,32'; a single number is a list of one."""
    if isinstance(value, str) and value != "auto":
        return [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _pairs(value: Any) -> Any:
    """Weights by class, also written as text: 'yes=3,no=1'. A class goes by its text, as in a table."""
    if isinstance(value, str) and "=" in value:
        value = dict(pair.rsplit("=", 1) for pair in value.split(",") if "=" in pair)
    return {class_name(key): weight for key, weight in value.items()} if isinstance(value, Mapping) else value


def class_name(label: Any) -> str:
    """A class as text, in which 1 and 1.0 are the same."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSpec(_Section):
    """The network."""

    kind: Literal["mlp", "perceptron"] = _field(
        "mlp",
        "The kind of network: a multilayer perceptron, or Rosenblatt's single layer of step units.",
        "Rosenblatt 1958; Rumelhart, Hinton & Williams 1986",
    )
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...] | Auto, BeforeValidator(_split)] = _field(
        "auto",
        "Units of each hidden layer, first to last, such as 256,256; auto chooses by the number of training rows. "
        "An empty list makes a linear model.",
        of_mlp=True,
    )
    activation: Annotated[tuple[Activation, ...], Field(min_length=1), BeforeValidator(_split)] = _field(
        ("relu", "silu"),
        "Activation function of the hidden units; of several, the members of the population take turns.",
        "Nair & Hinton 2010 (relu); Elfwing et al. 2018 (silu)",
        of_mlp=True,
    )
    initializer: Literal["he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal"] = _field(
        "he_normal",
        "Distribution of the first weights; biases start at 0.",
        "He et al. 2015; Glorot & Bengio 2010",
        of_mlp=True,
    )


class TrainingSpec(_Section):
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
    optimizer: Literal["sgd", "adam"] = _field(
        "adam", "Rule that turns gradients into steps.", "Kingma & Ba 2015; Polyak 1964 (momentum of sgd)", of_mlp=True
    )
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | Auto = _field("auto", "Length of the steps.")
    schedule: Literal["constant", "cosine", "flat_cosine", "log_cosine", "one_cycle"] = _field(
        "constant",
        "How the learning rate changes over the epochs.",
        "Loshchilov & Hutter 2017; Holzmüller et al. 2024; Smith & Topin 2019",
        of_mlp=True,
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = _field(
        "auto", "Most passes over the training rows; each member keeps its best epoch on its validation rows."
    )
    patience: Annotated[int, Field(ge=1)] | Auto = _field(
        "auto", "Epochs without a better validation score after which a member stops."
    )
    batch_size: Annotated[int, Field(ge=1)] | Auto = _field("auto", "Rows of one step.", of_mlp=True)
    beta1: float = _field(0.9, "Momentum of sgd; memory of the gradient in adam.", ge=0, lt=1, of_mlp=True)
    beta2: float = _field(0.999, "Memory of the squared gradient in adam.", "Kingma & Ba 2015", ge=0, lt=1, of_mlp=True)
    weight_decay: Annotated[float, Field(ge=0, le=1)] | Auto = _field(
        "auto", "Decoupled weight decay; biases do not decay.", "Loshchilov & Hutter 2019", of_mlp=True
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = _field(
        "auto", "Share of hidden units set to 0 in each step.", "Srivastava et al. 2014", of_mlp=True
    )
    input_dropout: float = _field(
        0.0, "Share of inputs set to 0 in each step.", "Srivastava et al. 2014", ge=0, lt=1, of_mlp=True
    )
    label_smoothing: float = _field(
        0.0,
        "Share of a class target spread over all classes.",
        "Szegedy et al. 2016, section 7",
        ge=0,
        lt=1,
        of_mlp=True,
    )
    clip_norm: float = _field(
        1.0,
        "Longest gradient; longer ones are scaled down to it. 0 for no limit.",
        "Pascanu et al. 2013",
        ge=0,
        of_mlp=True,
    )
    scoring: str = _field(
        "loss",
        "Validation score that chooses the best epoch: loss, or the name of a scikit-learn scorer such as roc_auc.",
    )
    class_weight: Annotated[
        Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(_pairs)
    ] = _field(None, "Weights of the classes, as yes=3,no=1; balanced gives every class the same sum of weights.")
    seed: int = _field(0, "Seed of all random choices; equal seeds give equal networks.", ge=0, lt=2**63)


class DataSpec(_Section):
    """How the table is split and encoded."""

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
        "auto", "Most parts of the piecewise-linear encoding of a number.", "Gorishniy et al. 2022"
    )
    max_categories: int = _field(
        64, "Most categories of a column that get an input of their own; the rarer ones share one.", ge=1
    )
    min_category_rows: int = _field(2, "Fewest training rows of a category with an input of its own.", ge=1)
    target_transform: Literal["auto", "none", "log"] = _field(
        "auto", "Transformation of a regression target before it is standardized; auto takes log when it is skewed."
    )


class Spec(_Section):
    """What was asked of a fit: everything chosen, nothing learnt.

    >>> Spec.of(hidden_sizes=(64, 32), dropout=0.1).training.dropout
    0.1
    """

    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    data: DataSpec = DataSpec()

    @classmethod
    def of(cls, **hyperparameters: Any) -> Spec:
        """A spec from hyperparameters by name, whatever section they are in.

        Raises:
            SpecError: for an unknown name, or a value out of its limits.
        """
        return cls().replace(**hyperparameters)

    def replace(self, **hyperparameters: Any) -> Spec:
        """This spec with some hyperparameters changed. Raises SpecError as `of` does."""
        sections = self.model_dump()
        for name, value in hyperparameters.items():
            sections[section_of(name)][name] = value
        return _validated(sections)

    @classmethod
    def from_dict(cls, sections: Mapping[str, Any]) -> Spec:
        """A spec from `{section: {hyperparameter: value}}`; what is not there keeps its default. Raises SpecError."""
        for section, values in sections.items():
            if section not in cls.model_fields:
                if section in HYPERPARAMETERS:
                    raise SpecError(f"{section} stands outside any section; it belongs in [{section_of(section)}].")
                known, hint = ", ".join(cls.model_fields), nearest(section, cls.model_fields)
                raise SpecError(f"There is no section [{section}]; a config has the sections {known}.{hint}")
            if not isinstance(values, Mapping):
                raise SpecError(
                    f"{section} must be a section of hyperparameters, but is {values!r}. Write [{section}]."
                )
            for name in values:
                if section_of(name) != section:
                    raise SpecError(f"{name} stands in section [{section}], but belongs in [{section_of(name)}].")
        return _validated(sections)

    @classmethod
    def from_toml(cls, path: str | Path) -> Spec:
        """A spec from a TOML file. Raises SpecError if it cannot be read or does not hold a valid spec."""
        try:
            return cls.from_dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise SpecError(f"The config {path} cannot be read: {error.strerror}. Check its name.") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"The config {path} is not UTF-8 text, as TOML must be.") from error
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"The config {path} is not valid TOML: {error}.") from error
        except SpecError as error:
            raise SpecError(f"In the config {path}: {error}") from error

    def to_toml(self) -> str:
        """This spec as TOML, which `from_toml` reads back to an equal spec."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def hash(self) -> str:
        """A name for this spec that is the same on every machine and in every process: SHA-256 of its JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __getitem__(self, name: str) -> Any:
        """The value of a hyperparameter, whatever section it is in."""
        return getattr(getattr(self, section_of(name)), name)


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter, as its field in a section describes it."""

    name: str
    section: str
    default: Any
    help: str
    source: str
    expected: str
    choices: tuple[str, ...]  # where only certain words are allowed
    of_mlp: bool  # whether it means nothing for a perceptron


def _hyperparameters() -> Iterator[Hyperparameter]:
    for section, field in Spec.model_fields.items():
        for name, schema in type(field.default).model_json_schema(mode="serialization")["properties"].items():
            default = getattr(field.default, name)
            choices = tuple(schema.get("items", schema).get("enum", ()))
            yield Hyperparameter(
                name,
                section,
                default,
                schema["description"],
                schema["source"],
                _expected(schema),
                choices,
                schema["of_mlp"],
            )


def _expected(schema: Mapping[str, Any], many: bool = False) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_expected(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema["type"] == "array" and "enum" in schema["items"]:
        return "one or more of " + ", ".join(schema["items"]["enum"])
    if schema["type"] == "array":
        return f"a list of {_expected(schema['items'], many=True)}"
    if schema["type"] == "object":
        return "a number for each class"
    if schema["type"] in ("string", "null"):
        return {"string": "a word", "null": "nothing"}[schema["type"]]
    word = {"integer": "whole number", "number": "number"}[schema["type"]]
    limits = [
        f"{text} {schema[key]:g}" if isinstance(schema[key], float) else f"{text} {schema[key]}"
        for key, text in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in schema
    ]
    return f"{word}s" * many + f"a {word}" * (not many) + (f" of {' and '.join(limits)}" if limits else "")


HYPERPARAMETERS: dict[str, Hyperparameter] = {h.name: h for h in _hyperparameters()}


def section_of(name: str) -> str:
    """The section of a hyperparameter. Raises SpecError, naming the nearest, where there is none of that name."""
    if name not in HYPERPARAMETERS:
        raise SpecError(f"There is no hyperparameter {name!r}.{nearest(name, HYPERPARAMETERS)}")
    return HYPERPARAMETERS[name].section


def _validated(sections: Mapping[str, Mapping[str, Any]]) -> Spec:
    try:
        return Spec.model_validate(_plain(sections))
    except ValidationError as error:
        first = error.errors()[0]
        section, name, *inside = first["loc"]
        known = HYPERPARAMETERS[str(name)]
        value = _plain(sections)[str(section)][str(name)]
        raise SpecError(_complaint(known, value, inside)) from None


def _complaint(known: Hyperparameter, value: Any, inside: list[Any]) -> str:
    """What was expected, what came, what to do."""
    items = _split(value) if isinstance(known.default, tuple) or known.name == "hidden_sizes" else value
    position = next((step for step in inside if isinstance(step, int)), None)
    came = f"it is {value!r}"
    if isinstance(items, list | tuple) and position is not None and position < len(items):
        value = items[position]
        came = f"it is {value!r}" if len(items) == 1 else f"item {position + 1} is {value!r}"
    default = "" if known.default is None else f" The default is {in_words(known.default)}."
    hint = nearest(str(value), known.choices) or default
    return f"{known.name} must be {known.expected}, but {came}.{hint}"


def in_words(value: Any) -> str:
    """A hyperparameter's value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def _plain(value: Any) -> Any:
    """`value` with NumPy's numbers and arrays as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
