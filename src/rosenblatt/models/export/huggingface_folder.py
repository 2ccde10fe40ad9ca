"""A model as a folder that huggingface_hub can push: weights in safetensors, a model card and the model file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCardData

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_count
from rosenblatt.models.export import safetensors_folder
from rosenblatt.models.export.signature import FittedModel, Signature
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import to_bytes

MODEL_FILE, CARD_FILE = "model.rosenblatt", "README.md"
MAX_CARD_COLUMNS = 50  # input columns that the card lists
LICENSE_NOTE = "The license is left to you: add it to the first lines of README.md, such as license: apache-2.0."
CONTENT_NOTE = (
    "The folder names the columns and categories of the training data, and holds hashes of its rows: check that you "
    "may publish them."
)
_MEDIA_TASKS = {"image": "image-classification", "text": "text-classification"}
_USE = """```python
from huggingface_hub import hf_hub_download
import rosenblatt

model = rosenblatt.load_model(hf_hub_download("USER/REPOSITORY", "model.rosenblatt"))
predictions = model.predict(table)
```

`model.safetensors` and `config.json` hold the same networks for programs without Rosenblatt."""


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write the folder."""
    safetensors_folder.write(model, signature, path)
    (path / MODEL_FILE).write_bytes(to_bytes(cast("Model", model)))
    (path / CARD_FILE).write_text(make_card(model, signature), "utf-8")
    return replace(signature, boundaries=(*signature.boundaries, LICENSE_NOTE, CONTENT_NOTE))


def make_card(model: FittedModel, signature: Signature) -> str:
    """The model card: metadata in YAML, then the model in Markdown."""
    metadata, target = model.metadata, model.target
    names = ", ".join(target.names)
    sections = {
        f"Prediction of {names}": f"A model that Rosenblatt {metadata.version} trained. Task: {target.task}.",
        "Use": _USE,
        "Inputs": _list_inputs(model),
        "Training data": _describe_data(model),
        "Scores": _table_of_scores(metadata.scores),
        "Limits": _list([*metadata.cautions, *signature.boundaries]) or "No limits are recorded.",
        "Networks": _list(network.architecture.summary for trial in model.trials for network in trial.networks),
        "Hyperparameters": _table_of_hyperparameters(model.trials[0].resolved_spec.model_dump(mode="json")),
    }
    title, *others = sections
    parts = [f"# {_escape(title)}\n\n{sections[title]}", *(f"## {name}\n\n{sections[name]}" for name in others)]
    return f"---\n{_card_data(model, signature).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _card_data(model: FittedModel, signature: Signature) -> ModelCardData:
    """The metadata of the card; the license is left out."""
    task, metadata = _hub_task(model.target, signature), model.metadata
    source = Path(metadata.test_source or metadata.source).name or "held-out rows"
    results = [
        EvalResult(
            task_type=task, dataset_type="tabular", dataset_name=source, dataset_split="test", metric_type=score.name,
            metric_name=score.name, metric_value=score.model,
        )
        for score in metadata.scores
    ]  # fmt: skip
    kinds = dict.fromkeys(network.architecture.kind for trial in model.trials for network in trial.networks)
    return ModelCardData(
        library_name="rosenblatt",
        pipeline_tag=task,
        tags=["rosenblatt", *kinds, model.target.task],
        model_name=f"prediction of {', '.join(model.target.names)}",
        eval_results=results or None,
        ignore_metadata_errors=False,
    )


def _hub_task(target: Target, signature: Signature) -> str:
    """The name of the task on the Hub."""
    if target.task == "language":
        return "text-generation"
    if target.task == "tagging":
        return "token-classification"
    if target.task == "regression":
        return "tabular-regression"
    kinds = {medium.kind for medium in signature.media}
    return next((task for kind, task in _MEDIA_TASKS.items() if kind in kinds), "tabular-classification")


def _list_inputs(model: FittedModel) -> str:
    columns = model.schema.input_columns
    lines = [f"- {_escape(column.name)}: {column.kind}" for column in columns[:MAX_CARD_COLUMNS]]
    more = [f"- and {format_count(len(columns) - MAX_CARD_COLUMNS, 'more column')}"] * (len(columns) > MAX_CARD_COLUMNS)
    return "\n".join([*lines, *more])


def _describe_data(model: FittedModel) -> str:
    metadata = model.metadata
    source = f" of `{Path(metadata.source).name}`" if metadata.source else ""
    return f"{format_count(metadata.rows, 'row')}{source}; {format_count(metadata.test_rows, 'test row')} held out."


def _table_of_scores(scores: Sequence[TestScore]) -> str:
    if not scores:
        return "No test rows were held out, so there are no test scores."
    lines = ["| score | model | 95% interval | baseline |", "|---|---|---|---|"]
    for score in scores:
        interval = f"{score.interval[0]:.4g} to {score.interval[1]:.4g}" if score.interval else ""
        lines.append(f"| {_escape(score.name)} | {score.model:.4g} | {interval} | {score.baseline:.4g} |")
    return "\n".join(lines)


def _table_of_hyperparameters(spec: dict[str, Any]) -> str:
    lines = ["| hyperparameter | value |", "|---|---|"]
    for section in spec.values():
        items = section.items() if isinstance(section, dict) else ()
        lines += [f"| {name} | {_escape(value)} |" for name, value in items]
    return "\n".join(lines)


def _list(sentences: Iterable[object]) -> str:
    return "\n".join(f"- {_escape(sentence)}" for sentence in sentences)


def _escape(text: object) -> str:
    """Text in one line of Markdown, without what would be markup."""
    for character in "\\`*_|<[":
        text = str(text).replace(character, f"\\{character}")
    return " ".join(str(text).split())
