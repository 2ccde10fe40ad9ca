"""Each sentence of the summary, for known scores and rows."""

import numpy as np
import pytest

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.groups import GroupScore, GroupScores
from rosenblatt.inspection.summary import Evidence, baseline_name, summarize
from rosenblatt.models.evaluation import describe_unknown_scores
from rosenblatt.models.metadata import TestScore
from tests.inspection.models import linear_model

BINARY = Target(names=("risk",), task="binary", labels=("good", "bad"))
CLASSES = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))


def evidence(target=BINARY, scores=(), n=200, held_out=True, y=None, predictions=None, metadata=(), **more):
    weights = np.zeros((2, target.n_outputs if target else 1))
    facts = {"rows": 800, "source": "german.csv", "interrupted": False, "failures": [], "baseline": [0.7, 0.3]}
    model = linear_model(weights, target).with_metadata(**facts | dict(metadata))
    n_classes = max(len(model.target.labels), 1)
    y = np.arange(n) % n_classes if y is None else y
    predictions = np.eye(n_classes)[y.astype(int)] if predictions is None else predictions
    return Evidence(model, list(scores), y, predictions, held_out, **more)


def accuracy(model, baseline, interval=None):
    return TestScore(name="accuracy", model=model, baseline=baseline, higher_is_better=True, interval=interval)


def text(evidence):
    return " ".join(summarize(evidence).sentences)


def cautions(evidence):
    return " ".join(summarize(evidence).cautions)


def test_the_summary_names_the_task_the_rows_and_the_baseline():
    sentences = text(evidence(scores=[accuracy(0.84, 0.7, (0.8, 0.88))]))
    assert "The model predicts risk (good or bad) from 2 columns." in sentences
    assert "It is the average of 2 networks, trained on 800 rows of german.csv." in sentences
    assert "On 200 held-out rows, 84% of its predictions are right (95% interval 80% to 88%);" in sentences
    assert "always predicting the most frequent class (good) gets 70% right." in sentences
    assert "clearly better than this baseline" in sentences
    figures = {figure.name: (figure.value, figure.detail) for figure in summarize(evidence()).figures}
    assert figures == {"scored on": ("200", "held-out rows"), "trained on": ("800", "rows")}


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (accuracy(0.72, 0.7, (0.66, 0.78)), "not clearly better than this baseline: the interval includes it"),
        (accuracy(0.68, 0.7, (0.62, 0.74)), "not clearly worse"),
        (accuracy(0.6, 0.7, (0.55, 0.65)), "is clearly worse than this baseline."),
        (accuracy(0.72, 0.7), "Without an interval, it is not known whether the difference"),
        (accuracy(0.7, 0.7), "is no better than this baseline."),
    ],
)
def test_the_verdict_follows_the_interval(score, verdict):
    assert verdict in text(evidence(scores=[score]))


def test_a_gain_that_may_be_due_to_chance_is_not_clear():
    y = np.tile([0, 1], 50)
    right = np.random.default_rng(0).permutation(np.arange(100) < 61)
    predictions = np.eye(2)[np.where(right, y, 1 - y)]
    facts = evidence(scores=[accuracy(0.61, 0.5, (0.51, 0.71))], y=y, predictions=predictions)
    assert "not clearly better than this baseline: the difference may be due to chance." in text(facts)


def test_rows_of_one_class_have_no_auc_and_no_majority():
    drops = {"a": np.array([0.2, 0.21, 0.19])}
    facts = evidence(scores=[accuracy(0.6, 0.0)], y=np.ones(200, int), importances=drops)
    assert "shuffling the values of a lowers its accuracy by 0.20." in text(facts)
    assert "so accuracy says little" not in cautions(facts)


def test_probabilities_that_are_worse_than_the_baseline_are_mentioned():
    loss = TestScore(name="log loss", model=2.21, baseline=2.14, higher_is_better=False, interval=(2.2, 2.22))
    assert "the log loss is 2.21 against 2.14." in cautions(evidence(scores=[accuracy(0.8, 0.7), loss]))


def test_errors_are_better_if_lower():
    score = TestScore(name="mean absolute error", model=2.0, baseline=6.5, higher_is_better=False, interval=(1.6, 2.4))
    r2 = TestScore(name="R2", model=0.85, baseline=0.0, higher_is_better=True)
    values = np.zeros((200, 1))
    facts = evidence(None, [score, r2], y=values, predictions=values)
    assert "predictions are off by 2.00 on average (95% interval 1.60 to 2.40)" in text(facts)
    assert "always predicting the mean is off by 6.50. The model is clearly better" in text(facts)
    assert "It explains 85% of the variance (R2 0.850)." in text(facts)


def test_a_ranking_is_explained():
    auc = TestScore(name="AUC", model=0.775, baseline=0.5, higher_is_better=True, interval=(0.7, 0.84))
    assert (
        "Of random pairs of a row of class bad and one of class good, it ranks 77.5% correctly (AUC 0.775, 95% "
        "interval 0.700 to 0.840; guessing gives 0.5)."
    ) in text(evidence(scores=[accuracy(0.8, 0.7), auc]))


def test_nothing_is_claimed_without_test_rows():
    facts = evidence(y=np.empty(0), predictions=np.empty((0, 2)))
    assert "No rows were held out for a test" in text(facts)
    assert cautions(facts) == ""


def test_the_most_important_columns_are_named_if_shuffling_them_matters():
    importances = {
        "a": np.array([0.01, -0.01, 0.0]),
        "b": np.array([0.2, 0.21, 0.19]),
        "c": np.array([0.3, 0.31, 0.32]),
    }
    sentences = text(evidence(scores=[accuracy(0.8, 0.7)], importances=importances))
    assert "It relies most on c and b: shuffling the values of c lowers its AUC by 0.31." in sentences
    sentences = text(evidence(scores=[accuracy(0.8, 0.7)], importances={"a": importances["a"]}))
    assert "No single column matters much" in sentences


def test_few_rows_and_wide_intervals_are_mentioned():
    facts = evidence(scores=[accuracy(0.8, 0.7, (0.7, 0.9))], n=40)
    assert "scored on 40 held-out rows only" in cautions(facts)
    assert "interval of the accuracy is 20 percentage points wide" in cautions(facts)
    assert cautions(evidence(scores=[accuracy(0.8, 0.7, (0.77, 0.83))])) == ""


def test_rows_of_unknown_origin_are_mentioned():
    assert "If the model was trained on some of these rows" in cautions(evidence(held_out=False))
    assert "On 200 rows," in text(evidence(held_out=False, scores=[accuracy(0.8, 0.7)]))


def test_classes_that_are_never_predicted_or_never_scored_are_named():
    y = np.repeat([0, 1], [170, 30])
    predictions = np.tile([0.6, 0.3, 0.1], (200, 1))
    scores = [accuracy(0.85, 0.85)]
    unknown = list(describe_unknown_scores(CLASSES, y, scores))
    facts = evidence(CLASSES, scores, y=y, predictions=predictions, cautions=unknown)
    assert "It never predicts b on these rows." in cautions(facts)
    assert "The test holds no 'c', so balanced accuracy" in cautions(facts)
    assert "85% of the rows are of class a, so accuracy says little." in cautions(facts)


def test_wrong_probabilities_are_mentioned():
    p = np.tile([0.1, 0.9], 100)
    y = np.tile([0, 0, 1, 1], 50)
    facts = evidence(scores=[accuracy(0.5, 0.5)], y=y, predictions=np.column_stack([1 - p, p]))
    assert (
        "differ from the observed frequencies by 40 percentage points on average, where chance explains 5"
        in cautions(facts)
    )


def test_suspiciously_good_scores_are_mentioned_with_their_column():
    auc = TestScore(name="AUC", model=0.9991, baseline=0.5, higher_is_better=True)
    facts = evidence(scores=[accuracy(0.99, 0.7), auc], importances={"leak": np.array([0.4, 0.4, 0.4])})
    assert "AUC of 0.9991 is almost perfect" in cautions(facts)
    assert "leak first of all" in cautions(facts)


def test_groups_that_are_worse_and_training_that_failed_are_mentioned():
    worse = GroupScore("Rome", 50, 0.6, (0.46, 0.72), -0.2, (-0.3, -0.1))
    groups = [GroupScores("city", "accuracy", higher_is_better=True, groups=(worse,))]
    facts = evidence(
        scores=[accuracy(0.8, 0.7)], groups=groups, metadata={"interrupted": True, "failures": ["diverged"]}
    )
    assert "worse for city = Rome than for other rows: accuracy 60% against 80% (50 rows)." in cautions(facts)
    assert "Training was interrupted" in cautions(facts)
    assert "1 network diverged in training and is not part of the model." in cautions(facts)


def test_baselines_have_names():
    assert baseline_name(evidence(None, y=np.zeros((9, 1)), predictions=np.zeros((9, 1))).model).endswith("the mean")
    assert baseline_name(evidence().model) == "always predicting the most frequent class (good)"
