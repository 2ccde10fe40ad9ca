from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, TrainingInterruptedError
from rosenblatt.models.fit import fit_model
from rosenblatt.models.incremental import IncrementalTrainer
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)
N = 60
FRAME = pl.DataFrame({"a": RNG.normal(3, 2, N), "b": RNG.normal(size=N)})
SCHEMA = schema_from_dtypes(FRAME)
Y = np.arange(N) % 3.0
VALUES = FRAME["a"].to_numpy().reshape(-1, 1)
TARGET = Target(names=("y",), task="multiclass", labels=("x", "y", "z"))
REGRESSION_TARGET = Target.fit_regression(("s",), VALUES, "none")
SMALL = {"hidden_sizes": (4,), "epochs": 3, "members": 2, "numeric_encoding": "standard"}


def fit(data=None, target=TARGET, **arguments):
    overrides = arguments.pop("changes", {})
    return fit_model(
        Spec.from_hyperparameters(**SMALL | overrides), SCHEMA, target, data or Dataset(FRAME, Y), **arguments
    )


def test_the_fingerprint_changes_with_any_part_of_the_rows():
    weight, groups = np.ones(N), np.arange(N) % 4
    data = Dataset(FRAME, Y, weight, groups)
    equal_data = Dataset(FRAME.clone(), Y.copy(), weight.copy(), groups.copy())
    assert data.fingerprint() == equal_data.fingerprint()
    variants = [
        replace(data, frame=FRAME.with_columns(b=-pl.col("b"))),
        replace(data, y=np.roll(Y, 1)),
        replace(data, weight=None),
        replace(data, weight=2 * weight),
        replace(data, groups=groups % 2),
        replace(data, order=np.arange(N)),
    ]
    assert len({other.fingerprint() for other in [data, *variants]}) == 7
    sparse = csr_array(np.eye(3))
    assert Dataset(sparse, Y[:3]).fingerprint() != Dataset(csr_array(np.eye(3)[::-1]), Y[:3]).fingerprint()


def test_every_epoch_of_every_member_is_scored_and_reported():
    records, starts, score_calls = [], [], []
    epochs = iter(range(100))

    def watch(resolved_spec, members):
        starts.append((resolved_spec.network.hidden_sizes, resolved_spec["batch_size"] != "auto", members))
        return records.append

    def score_factory(target, y, weight):
        score_calls.append((target, y))
        return lambda outputs, rows: -float(next(epochs))  # the first epoch is the best

    model = fit(
        changes={"scoring": "accuracy"},
        watch=watch,
        scorer_factory=score_factory,
        threads=1,
        validation=Dataset(FRAME[:9], Y[:9]),
    )
    assert starts == [((4,), True, 2)]
    assert [(record.member, record.epoch) for record in records] == [(m, e) for m in range(2) for e in (1, 2, 3)]
    assert [record.score for record in records] == [-0.0, -1, -2, -3, -4, -5]
    assert [record.last for record in records] == [False, False, True] * 2
    assert score_calls[0][0] == TARGET
    np.testing.assert_array_equal(score_calls[0][1], np.concatenate([Y, Y[:9]]))
    assert [network.best_epoch for network in model.networks] == [1, 1]
    assert [network.losses for network in model.networks] == [
        tuple(record.loss for record in records if record.member == member) for member in range(2)
    ]
    assert model.metadata == ModelMetadata(rows=N, interrupted=False, members=2, failures=())


def test_an_interrupted_fit_keeps_complete_epochs_or_raises():
    def interrupt(record):
        raise KeyboardInterrupt

    model = fit(
        watch=lambda resolved_spec, members: interrupt,
        threads=1,
        changes={"members": 1, "epochs": 10**6, "patience": 10**6},
    )
    assert model.metadata.interrupted is True
    assert 1 <= len(model.networks[0].losses) < 10**6

    def score_factory(target, y, weight):
        def interrupt(outputs, rows):
            raise KeyboardInterrupt

        return interrupt

    with pytest.raises(TrainingInterruptedError, match=r"(?i)interrupted during the first epoch"):
        fit(scorer_factory=score_factory, threads=1)


def test_a_diverging_batch_leaves_the_trainer_unchanged():
    def new_trainer():
        constant = {"members": 1, "learning_rate": 0.1, "optimizer": "sgd", "clip_norm": 0.0}
        return IncrementalTrainer(
            Spec.from_hyperparameters(**SMALL | constant), SCHEMA, REGRESSION_TARGET, Dataset(FRAME, VALUES)
        )

    trainer, reference = new_trainer(), new_trainer()
    trainer.partial_fit(Dataset(FRAME[:30], VALUES[:30]))
    with pytest.raises(DivergedError, match=r"learning_rate.*0\.1"):
        trainer.partial_fit(Dataset(FRAME * 1e30, VALUES))
    reference.partial_fit(Dataset(FRAME[:30], VALUES[:30]))
    model, reference_model = (s.partial_fit(Dataset(FRAME[30:], VALUES[30:])) for s in (trainer, reference))
    np.testing.assert_array_equal(model.networks[0].theta, reference_model.networks[0].theta)
    assert model.metadata.rows == N
    assert len(model.networks[0].losses) == 2
