from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, SpecError, TableError
from rosenblatt.models.fit import fit_model
from rosenblatt.models.incremental import IncrementalTrainer
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)
FRAME = pl.DataFrame({"a": RNG.normal(size=240), "b": RNG.normal(size=240), "c": RNG.choice(["x", "y"], 240)})
Y = ((FRAME["a"] + FRAME["b"]).to_numpy() > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SCHEMA = schema_from_dtypes(FRAME)
SMALL = {"hidden_sizes": (16,), "epochs": 15, "members": 3, "bins": 8}


def fit(target=TARGET, y=Y, frame=FRAME, weight=None, validation=None, **changes):
    spec = Spec.from_hyperparameters(**SMALL | changes)
    return fit_model(
        spec,
        schema_from_dtypes(frame),
        target,
        Dataset(schema_from_dtypes(frame).read(frame), y, weight),
        validation=validation,
    )


def test_a_model_predicts_labels_and_probabilities():
    model = fit()
    proba = model.predict_proba(FRAME)
    assert proba.shape == (240, 2)
    np.testing.assert_array_equal(model.predict(FRAME), np.where(proba[:, 1] > 0.5, "yes", "no"))
    assert (model.predict(FRAME) == np.where(Y, "yes", "no")).mean() > 0.9


def test_models_do_not_depend_on_the_number_of_threads():
    one_thread = fit_model(Spec.from_hyperparameters(**SMALL), SCHEMA, TARGET, Dataset(FRAME, Y), threads=1)
    four_threads = fit_model(Spec.from_hyperparameters(**SMALL), SCHEMA, TARGET, Dataset(FRAME, Y), threads=4)
    np.testing.assert_array_equal(one_thread.predict_raw(FRAME), four_threads.predict_raw(FRAME))


def test_predictions_do_not_depend_on_chunks():
    model = fit(members=1)
    repeated = pl.concat([FRAME] * 40)
    predictions = model.predict_raw(repeated)
    np.testing.assert_array_equal(predictions[-240:], predictions[:240])
    np.testing.assert_array_equal(model.predict_raw(repeated[9000:9001]), predictions[9000:9001])


def test_each_member_holds_out_another_fold():
    model = fit(members=8, folds=4)
    assert len(model.networks) == 8
    assert all(network.scores for network in model.networks)
    assert all(min(network.scores) == network.scores[network.best_epoch - 1] for network in model.networks)


def test_without_folds_members_train_on_all_rows_for_all_epochs():
    model = fit(folds=1)
    assert [network.best_epoch for network in model.networks] == [15, 15, 15]
    assert model.networks[0].scores == ()


def test_validation_rows_choose_the_best_epoch_and_are_not_trained_on():
    validation = Dataset(FRAME[:40], 1 - Y[:40])  # wrong labels: the earliest epoch is the best
    model = fit(validation=validation)
    assert max(network.best_epoch for network in model.networks) < 8
    assert min(network.best_epoch for network in fit(validation=Dataset(FRAME[:40], Y[:40])).networks) > 8


def test_sample_weights_change_the_model():
    weighted = fit(weight=np.where(Y == 1, 50.0, 1.0), folds=1)
    assert weighted.predict_proba(FRAME)[:, 1].mean() > fit(folds=1).predict_proba(FRAME)[:, 1].mean() + 0.02


def test_class_weights_equal_weights_of_the_rows():
    class_weighted = fit(class_weight={"yes": 3.0})
    row_weighted = fit(weight=np.where(Y == 1, 3.0, 1.0))
    np.testing.assert_array_equal(class_weighted.predict_raw(FRAME), row_weighted.predict_raw(FRAME))
    with pytest.raises(SpecError, match="class_weight names 'maybe', but the classes are 'no' and 'yes'"):
        fit(class_weight={"maybe": 2.0})


def test_balanced_weights_raise_the_probability_of_the_rare_class():
    rare = np.arange(240) < 24
    model = fit(y=rare.astype(float), class_weight="balanced", folds=1, epochs=3)
    assert model.predict_proba(FRAME)[:, 1].mean() > 0.3  # its rows are a tenth of all


def test_values_can_be_predicted():
    target = Target.fit_regression(("s",), (FRAME["a"] * 3).to_numpy().reshape(-1, 1), "auto")
    model = fit(target, (FRAME["a"] * 3).to_numpy().reshape(-1, 1), epochs=60)
    assert np.corrcoef(model.predict(FRAME), FRAME["a"])[0, 1] > 0.98
    with pytest.raises(TableError, match="has no probabilities"):
        model.predict_proba(FRAME)


def test_hyperparameters_that_cannot_be_combined_are_rejected():
    target = Target.fit_regression(("s",), Y.reshape(-1, 1), "auto")
    with pytest.raises(SpecError, match="A perceptron predicts classes, but the task is regression"):
        target.with_loss(Spec.from_hyperparameters(kind="perceptron"), np.zeros((2, 1)))
    for changes, message in (
        ({"huber_delta": 2.0}, "huber_delta has an effect only with loss huber, but loss is auto"),
        ({"batch_order": "stratified"}, "batch_order stratified needs a task with classes, but the task is regression"),
        ({"label_smoothing": 0.1}, "label_smoothing needs the loss cross_entropy, but the loss is squared"),
        ({"normalization": "batch", "batch_size": 1}, "normalization batch needs batches of two or more rows"),
        (
            {"layer_lr_multipliers": (1.0, 2.0, 3.0)},
            "layer_lr_multipliers has 3 values, but the network has 2 layers",
        ),
        ({"degree": 2}, "degree has an effect only with kernel polynomial, but kernel is rbf"),
    ):
        with pytest.raises(SpecError, match=message):
            fit(target, Y.reshape(-1, 1), **changes)
    with pytest.raises(SpecError, match="The loss focal does not fit the task regression"):
        target.with_loss(Spec.from_hyperparameters(loss="focal"), np.zeros((2, 1)))
    with pytest.raises(SpecError, match="class_weight needs a task with classes, but the task is regression"):
        fit(target, Y.reshape(-1, 1), class_weight="balanced")


def test_divergence_of_all_members_raises_with_advice():
    with pytest.raises(DivergedError, match="Choose a smaller learning_rate than 1000"):
        fit(learning_rate=1000.0, clip_norm=0.0, optimizer="sgd", activation="identity", hidden_sizes=(8, 8))


def test_incremental_training_learns_from_each_batch():
    trainer = IncrementalTrainer(Spec.from_hyperparameters(**SMALL), SCHEMA, TARGET, Dataset(FRAME[:60], Y[:60]))
    for _ in range(40):
        for start in range(0, 240, 60):
            model = trainer.partial_fit(Dataset(FRAME[start : start + 60], Y[start : start + 60]))
    assert (model.predict(FRAME) == np.where(Y, "yes", "no")).mean() > 0.9
    assert model.metadata.rows == 9600


def test_incremental_training_continues_the_networks_of_a_model():
    model = fit(members=4, folds=1)
    # as after an interruption, or if other networks diverged
    fewer = replace(model, trials=(replace(model.trials[0], networks=model.networks[1:3]),))
    trainer = IncrementalTrainer(model.spec, SCHEMA, TARGET, Dataset(FRAME, Y), fewer)
    resumed = trainer.partial_fit(Dataset(FRAME, Y))
    assert [network.architecture for network in resumed.networks] == [n.architecture for n in fewer.networks]
    assert np.abs(resumed.predict_raw(FRAME) - fewer.predict_raw(FRAME)).mean() < 0.1
