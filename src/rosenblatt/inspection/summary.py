"""The opening summary of a report: what is predicted, how well, what matters most, and what to be careful about.

Each sentence is computed from the model and its scored rows; what is not known is left out or named as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rosenblatt.errors import format_count, join_names
from rosenblatt.inspection.groups import GroupScores, mean_interval, row_scores
from rosenblatt.inspection.plots.evaluation import calibration_curve
from rosenblatt.inspection.plots.importance import importance_metric
from rosenblatt.inspection.tables import format_interval, format_percent, format_value
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import compute_baseline
from rosenblatt.models.model import Model

MIN_TEST_ROWS = 100  # with fewer rows, the summary calls the scores rough
MAX_INTERVAL_WIDTH = 0.1  # of accuracies; wider intervals are mentioned
MAX_MAJORITY = 0.8  # fraction of the most frequent class; if it is larger, accuracy says little
MAX_CALIBRATION_ERROR = 0.05  # mean difference of predicted and observed frequency, beyond what chance explains
MIN_IMPORTANCE = 0.005  # loss of a score by shuffling a column, from which on the column matters
MIN_RELATIVE_IMPORTANCE = 0.1  # of the most important column's, for columns named beside it
SUSPICIOUS_SCORE = 0.99  # AUC or R2 from which on the summary warns of data leakage
MAX_LISTED = 3  # columns, groups or classes that a sentence names
MAIN_SCORES = {"regression": "mean absolute error", "multilabel": "labels right"}


@dataclass(frozen=True)
class Evidence:
    """What a summary is computed from."""

    model: Model
    scores: Sequence[TestScore]
    y: np.ndarray  # of the scored rows, as `SupervisedTask.y`
    predictions: np.ndarray  # as `Model.predict_raw`
    is_held_out: bool  # whether it is certain that the model was not trained on these rows
    importances: Mapping[str, np.ndarray] = field(default_factory=dict)  # as `permutation_importance`
    groups: Sequence[GroupScores] = ()
    drift: Sequence[str] = ()  # how the rows differ from the training rows
    cautions: Sequence[str] = ()  # as in `Evaluation`
    weight: np.ndarray | None = None  # (n,) weights of the scored rows
    is_overlap_known: bool = False  # whether the rows were compared with the training rows

    @property
    def main_score(self) -> TestScore | None:
        """The score that is easiest to interpret: an accuracy or the mean absolute error."""
        name = MAIN_SCORES.get(self.model.target.task, "accuracy")
        return next((score for score in self.scores if score.name.startswith(name)), None)

    def score(self, name: str) -> TestScore | None:
        """The score of this name, or None."""
        return next((score for score in self.scores if score.name == name), None)

    @property
    def is_forecast(self) -> bool:
        """Whether the model forecasts a time series."""
        return self.model.task == "forecasting"

    @property
    def rows(self) -> str:
        """The number of scored rows and what they are, such as "200 held-out rows"."""
        noun = "step" if self.model.target.is_per_step else "window" if self.is_forecast else "row"
        return format_count(len(self.y), f"{'held-out ' if self.is_held_out else ''}{noun}")

    @property
    def class_counts(self) -> np.ndarray:
        """(classes,) the number of scored rows of each class."""
        return np.bincount(self.y.astype(int), minlength=len(self.model.target.labels))


@dataclass(frozen=True)
class KeyFigure:
    """A number shown in large type."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Summary:
    """The top of a report."""

    sentences: tuple[str, ...]
    cautions: tuple[str, ...]
    figures: tuple[KeyFigure, ...]


def summarize(evidence: Evidence) -> Summary:
    """Write the summary."""
    sentences = [_describe_data(evidence), *_describe_quality(evidence), *_describe_importance(evidence)]
    cautions = [
        *_cautions_about_rows(evidence),
        *_cautions_about_scores(evidence),
        *_cautions_about_classes(evidence),
        *_cautions_about_groups(evidence),
        *_cautions_about_training(evidence.model),
    ]
    return Summary(tuple(sentences), tuple(cautions), tuple(_key_figures(evidence)))


def _key_figures(evidence: Evidence) -> Iterator[KeyFigure]:
    main, model = evidence.main_score, evidence.model
    if main:
        value, low_high = _format_score(evidence, main.model), _interval(evidence, main)
        yield KeyFigure(main.name, value, f"95% interval {low_high}" if low_high else "")
        yield KeyFigure("baseline", _format_score(evidence, main.baseline), baseline_name(model))
    ranking = evidence.score("AUC") or evidence.score("R2")
    if ranking:
        interval = format_interval(ranking.interval)
        yield KeyFigure(ranking.name, format_value(ranking.model), f"95% interval {interval}" if interval else "")
    yield KeyFigure("scored on", f"{len(evidence.y):,}", evidence.rows.split(" ", 1)[1])
    yield KeyFigure("trained on", f"{model.metadata.rows:,}", "windows" if evidence.is_forecast else "rows")


def baseline_name(model: Model) -> str:
    """What the trivial baseline of the scores predicts."""
    if model.metadata.windows:
        return "repeating the last value"
    if model.target.task == "regression":
        return "always predicting the mean"
    if model.target.task == "multilabel":
        return "always predicting the most frequent value of each label"
    shares = model.metadata.baseline
    label = f" ({model.target.labels[int(np.argmax(shares))]})" if shares else ""
    return f"always predicting the most frequent class{label}"


def _describe_data(evidence: Evidence) -> str:
    model, metadata = evidence.model, evidence.model.metadata
    if metadata.windows:
        windows = metadata.windows
        n_steps = format_count(windows.window, "step")
        values = f"{windows.horizon} values" if windows.horizon > 1 else "value"
        subject = f"The model forecasts the next {values} of {windows.target} from up to {n_steps} before."
    elif model.target.task == "language":
        subject = "The model predicts the next token of a text."
    else:
        names = list(model.target.names)
        if len(names) > MAX_LISTED:
            names = [*names[: MAX_LISTED - 1], f"{len(names) - MAX_LISTED + 1} others"]
        subject = f"The model predicts {join_names(names)} ({_describe_task(model)}) from {_describe_inputs(model)}."
    source = f" of {metadata.source}" if metadata.source else ""
    rows = format_count(metadata.rows, "window" if evidence.is_forecast else "row")
    return f"{subject} It is {_describe_networks(model)}, trained on {rows}{source}."


def _describe_inputs(model: Model) -> str:
    if model.encoder.n_sparse_columns:
        return f"a sparse matrix of {format_count(model.encoder.n_sparse_columns, 'column')}"
    inputs, media = model.schema.input_columns, dict.fromkeys(f"{c.kind}s" for c in model.schema.media_columns)
    if not media:
        return format_count(len(inputs), "column")
    relation = " of" if len(media) == len(inputs) else ", including"
    return f"{format_count(len(inputs), 'column')}{relation} {join_names(list(media))}"


def _describe_networks(model: Model) -> str:
    networks = "a single network" if len(model.networks) == 1 else f"the average of {len(model.networks)} networks"
    return networks if len(model.trials) == 1 else f"{networks} with {len(model.trials)} sets of hyperparameters"


def _describe_task(model: Model) -> str:
    target = model.target
    if target.task == "regression":
        return "a number" if len(target.names) == 1 else f"{len(target.names)} numbers"
    if target.task == "multilabel":
        return f"{len(target.names)} labels"
    labels = [str(label) for label in target.labels]
    per_step = " for each step" if target.is_per_step else ""
    return f"{' or '.join(labels) if len(labels) == 2 else format_count(len(labels), 'class', 'classes')}{per_step}"


def _describe_quality(evidence: Evidence) -> Iterator[str]:
    main = evidence.main_score
    if not len(evidence.y) or main is None:
        yield "No rows were held out for a test, so nothing is known about the quality of its predictions for new rows."
        return
    task, interval = evidence.model.target.task, _interval(evidence, main)
    value, baseline = _format_score(evidence, main.model), _format_score(evidence, main.baseline)
    name = baseline_name(evidence.model)
    interval = f" (95% interval {interval})" if interval else ""
    if task == "regression":
        of = main.name.removeprefix("mean absolute error")
        yield (f"On {evidence.rows}, its predictions{of} are off by {value} on average{interval}; {name} is off by "
               f"{baseline}. {_compare(evidence, main)}")  # fmt: skip
    else:
        subject = "of the labels" if task == "multilabel" else "of its predictions"
        yield (
            f"On {evidence.rows}, {value} {subject} are right{interval}; {name} gets {baseline} right. "
            f"{_compare(evidence, main)}"
        )
    yield from _describe_ranking(evidence)


def _compare(evidence: Evidence, score: TestScore) -> str:
    """How the model compares with the baseline, judged by the interval of its score and by the rows' differences."""
    sign = 1 if score.higher_is_better else -1
    gain = sign * (score.model - score.baseline)
    if gain == 0:
        return "The model is no better than this baseline."
    if score.interval is None:
        return "Without an interval, it is not known whether the difference from this baseline is due to chance."
    low, high = sorted(sign * (bound - score.baseline) for bound in score.interval)
    if low > 0 and not _may_be_chance(evidence):
        return "The model is clearly better than this baseline, which is outside the interval."
    if high < 0:
        return "The model is clearly worse than this baseline."
    reason = "the difference may be due to chance" if low > 0 else "the interval includes it"
    return f"The model is not clearly {'better' if gain > 0 else 'worse'} than this baseline: {reason}."


def _may_be_chance(evidence: Evidence) -> bool:
    """Whether the mean difference between the rows' scores and those of the baseline has an interval that includes 0.

    The baseline of a forecast differs from window to window and is not known here; False for forecasts.
    """
    model, y = evidence.model, evidence.y
    if evidence.is_forecast:
        return False
    baseline = np.tile(np.asarray(model.metadata.baseline or compute_baseline(model.target, y)), (len(y), 1))
    predictions = evidence.predictions
    if model.target.task == "regression":  # the main score is that of the first target
        y, predictions, baseline = y[:, :1], predictions[:, :1], baseline[:, :1]
    rows, baseline_rows = (row_scores(model.target, y, values) for values in (predictions, baseline))
    low, high = mean_interval(rows - baseline_rows, evidence.weight) or (0.0, 0.0)
    return low <= 0 <= high


def _describe_ranking(evidence: Evidence) -> Iterator[str]:
    """What AUC or R2 mean, if the model has one of them."""
    auc, r2 = evidence.score("AUC"), evidence.score("R2")
    if auc and evidence.model.target.task == "binary":
        negative, positive = evidence.model.target.labels
        yield (
            f"Of random pairs of a row of class {positive} and one of class {negative}, it ranks "
            f"{format_percent(auc.model)} correctly (AUC{_suffix(auc)}; guessing gives 0.5)."
        )
    if r2:
        explained = f"{format_percent(r2.model)}" if r2.model > 0 else "nothing"
        yield f"It explains {explained} of the variance (R2{_suffix(r2)})."


def _suffix(score: TestScore) -> str:
    """A score with its interval, in parentheses."""
    interval = f", 95% interval {format_interval(score.interval)}" if score.interval else ""
    return f" {format_value(score.model)}{interval}"


def _describe_importance(evidence: Evidence) -> Iterator[str]:
    if not evidence.importances:
        return
    metric = importance_metric(evidence.model.target, evidence.y)
    ranked = sorted(evidence.importances.items(), key=lambda item: -item[1].mean())
    least = max(MIN_IMPORTANCE, MIN_RELATIVE_IMPORTANCE * ranked[0][1].mean())
    relevant = [
        (name, drops.mean())
        for name, drops in ranked
        if drops.mean() > max(least, 2 * drops.std(ddof=1) / np.sqrt(len(drops)))
    ]
    if not relevant:
        yield f"No single column matters much: shuffling any of them hardly changes its {metric}."
        return
    names = join_names([name for name, _ in relevant[:MAX_LISTED]])
    name, drop = relevant[0]
    yield f"It relies most on {names}: shuffling the values of {name} lowers its {metric} by {format_value(drop, 2)}."


def _cautions_about_rows(evidence: Evidence) -> Iterator[str]:
    n = len(evidence.y)
    if n and not evidence.is_held_out and not evidence.is_overlap_known:
        yield "If the model was trained on some of these rows, its scores are too optimistic for new rows."
    yield from (f"{text[0].upper()}{text[1:]}." for text in evidence.cautions)
    if 0 < n < MIN_TEST_ROWS:
        yield f"The model is scored on {evidence.rows} only, so the scores are rough."
    yield from evidence.drift


def _cautions_about_scores(evidence: Evidence) -> Iterator[str]:
    main = evidence.main_score
    if main and main.interval and evidence.model.target.task != "regression":
        width = main.interval[1] - main.interval[0]
        if width > MAX_INTERVAL_WIDTH:
            yield (
                f"The interval of the {main.name} is {100 * width:.0f} percentage points wide; more test rows would "
                "narrow it."
            )
    for score in (evidence.score("AUC"), evidence.score("R2")):
        if score and score.model >= SUSPICIOUS_SCORE:
            top = max(evidence.importances, key=lambda name: evidence.importances[name].mean(), default="")
            check = f", {top} first of all," if top else ""
            yield (
                f"The {score.name} of {format_value(score.model, 4)} is almost perfect. Check for data leakage: all "
                f"columns{check} must be known when a prediction is made."
            )
    loss = evidence.score("log loss")
    if loss and loss.model > loss.baseline:
        yield (
            f"Its probabilities are worse than the frequencies of the classes in training: the log loss is "
            f"{format_value(loss.model)} against {format_value(loss.baseline)}."
        )
    yield from _cautions_about_calibration(evidence)


def _cautions_about_calibration(evidence: Evidence) -> Iterator[str]:
    target = evidence.model.target
    if target.task != "binary" or target.output_type == "sums" or len(evidence.y) < MIN_TEST_ROWS:
        return
    probability, frequency = calibration_curve(evidence.y == 1, evidence.predictions[:, 1])
    error = float(np.abs(probability - frequency).mean())
    group_rows = len(evidence.y) / len(probability)
    chance = float(np.sqrt(2 / np.pi * probability * (1 - probability) / group_rows).mean())  # if they were exact
    if error - chance > MAX_CALIBRATION_ERROR:
        yield (
            f"Its probabilities differ from the observed frequencies by {100 * error:.0f} percentage points on "
            f"average, where chance explains {100 * chance:.0f} (see Calibration)."
        )


def _cautions_about_classes(evidence: Evidence) -> Iterator[str]:
    target = evidence.model.target
    if not target.labels or target.is_per_step or not len(evidence.y):
        return
    counts, n = evidence.class_counts, len(evidence.y)
    predicted = np.bincount(target.to_predictions(evidence.predictions), minlength=len(target.labels))
    labels = [str(label) for label in target.labels]
    never = [label for label, is_never in zip(labels, (predicted == 0) & (counts > 0), strict=True) if is_never]
    if never:
        yield f"It never predicts {join_names(never)} on these rows."
    if MAX_MAJORITY * n < counts.max() < n:
        yield (
            f"{format_percent(counts.max() / n)} of the rows are of class {labels[int(counts.argmax())]}, so accuracy "
            "says little. Look at precision and recall."
        )


def _cautions_about_groups(evidence: Evidence) -> Iterator[str]:
    for scores in evidence.groups:
        for group in scores.worse[:MAX_LISTED]:
            score, other = (_format_score(evidence, value) for value in (group.score, group.score - group.difference))
            yield (
                f"The model is worse for {scores.column} = {group.name} than for other rows: "
                f"{scores.metric} {score} against {other} ({format_count(group.rows, 'row')})."
            )


def _cautions_about_training(model: Model) -> Iterator[str]:
    if model.metadata.interrupted:
        yield "Training was interrupted; the best epochs until then are used."
    failures = model.metadata.failures
    if failures:
        verb = "is" if len(failures) == 1 else "are"
        yield f"{format_count(len(failures), 'network')} diverged in training and {verb} not part of the model."


def _format_score(evidence: Evidence, value: float) -> str:
    return format_value(value) if evidence.model.target.task == "regression" else format_percent(value)


def _interval(evidence: Evidence, score: TestScore) -> str:
    if score.interval is None:
        return ""
    return " to ".join(_format_score(evidence, bound) for bound in score.interval)
