"""Coordinator of a search: stopping, budgets, memory, failures, resuming, and equal results for equal seeds."""

import time

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, ModelFileError, SpecError, TrainingInterruptedError
from rosenblatt.models.prepared import PreparedData
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.training import workers
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.checkpoints import SearchCheckpoint
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.selection import select_model
from tests.waiting import time_limit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 3))
FRAME = pl.DataFrame({name: X[:, i] for i, name in enumerate("abc")})
Y = (X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=150) > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))


def target_with_loss(spec):
    return TARGET.with_loss(spec, Y)


SCHEMA = schema_from_dtypes(FRAME)
SPACE = {
    "hidden_sizes": choice((4,), (8, 8)),
    "learning_rate": log_uniform(1e-4, 1e-1),
    "dropout": uniform(0.0, 0.5),
    "optimizer": choice("adam", "momentum"),
}
FAST = {"epochs": 9, "min_epochs": 1, "folds": 3, "repeats": 1, "numeric_encoding": "standard", "trials": 12}


def make_prepared(**options):
    return PreparedData(Dataset(FRAME, Y), target_with_loss, **options)


def run_search(space=SPACE, threads=None, run=None, **spec):
    score = make_epoch_scorer(spec["scoring"]) if "scoring" in spec else None
    search = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | spec).with_search_space(space or {}), make_prepared(), score, threads
    )
    search.run(**run or {})
    return search


def assert_equal_searches(a, b):
    assert [trial.proposal.params for trial in a.history.trials] == [
        trial.proposal.params for trial in b.history.trials
    ]
    assert [trial.scores for trial in a.history.trials] == [trial.scores for trial in b.history.trials]
    assert [trial.state for trial in a.history.trials] == [trial.state for trial in b.history.trials]
    result_a, result_b = select_model(a, SCHEMA), select_model(b, SCHEMA)
    np.testing.assert_array_equal(result_a.model.predict_raw(FRAME), result_b.model.predict_raw(FRAME))


def test_worse_trials_are_stopped_and_the_best_finish():
    search = run_search()
    states = [trial.state for trial in search.history.trials]
    assert len(states) == 12
    assert set(states) == {"finished", "stopped"}
    assert 1 <= states.count("finished") < 6
    best = min(search.history.trials, key=lambda trial: trial.scores[0])
    assert best.rung > 0  # it was promoted
    assert all(
        trial.reason.startswith("not among the best") for trial in search.history.trials if trial.state == "stopped"
    )
    assert all(trial.folds.n_trained == 3 for trial in search.history.trials)


def test_rungs_are_epochs():
    search = run_search(stopping="asha", trials=6)
    assert [rung.epochs(search.history.trials[0].proposal.resolved_spec) for rung in search.plan.rungs] == [1, 3, 9]
    for trial in search.history.trials:
        assert trial.statistics.epochs == [1, 3, 9][trial.rung]


@pytest.mark.parametrize("stopping", ["asha", "hyperband", "median", "none", "pbt"])
def test_deterministic_searches_are_equal_whatever_the_number_of_cores(stopping):
    assert_equal_searches(*(run_search(stopping=stopping, deterministic=True, threads=threads) for threads in (1, 3)))


@pytest.mark.parametrize("sampler", ["random", "tpe", "cma_es"])
def test_deterministic_searches_are_equal_for_any_sampler(sampler):
    space = {"learning_rate": log_uniform(1e-4, 1e-1), "dropout": uniform(0.0, 0.5)}
    runs = [run_search(space, sampler=sampler, deterministic=True, trials=25, epochs=3, threads=t) for t in (1, 2)]
    assert_equal_searches(*runs)


def test_a_trial_does_not_depend_on_the_number_of_threads():
    search = run_search(stopping="none", trials=4, threads=2)
    repeated = run_search(stopping="none", trials=4, threads=1, deterministic=True)
    trial, repeated_trial = search.history.trials[0], repeated.history.trials[0]
    assert trial.proposal.params == repeated_trial.proposal.params
    for member, repeated_member in zip(trial.folds.members, repeated_trial.folds.members, strict=True):
        np.testing.assert_array_equal(member.best, repeated_member.best)


def test_the_threads_are_busy():
    search = run_search(epochs=60, trials=20, stopping="none", hidden_sizes=(64, 64), space=None, threads=2)
    assert search.utilization > 0.6  # the search takes a fraction of a second, on a machine with other load


def test_the_first_trial_of_the_default_space_is_a_fit_without_search():
    search = run_search(space=None, trials=3, epochs=2)
    default_spec = search.prepared.resolve(Spec.from_hyperparameters(**FAST | {"epochs": 2}).without_search())
    first_trial = search.history.trials[0]
    assert first_trial.proposal.resolved_spec == default_spec
    assert first_trial.state == "finished"


def test_a_trial_that_diverges_is_recorded_and_stops_no_other():
    space = {"learning_rate": choice(0.01, 1000.0), "optimizer": choice("sgd"), "l1": log_uniform(1e-9, 1e-8)}
    search = run_search(space, clip_norm=0, stopping="none", hidden_sizes=(16, 16), activation="relu", epochs=30)
    failed = [trial for trial in search.history.trials if trial.state == "failed"]
    assert {trial.proposal.params["learning_rate"] for trial in failed} == {1000.0}
    assert "not finite" in failed[0].reason or "is nan" in failed[0].reason or "is inf" in failed[0].reason
    assert any(trial.state == "finished" for trial in search.history.trials)


def test_if_all_trials_diverge_the_message_names_the_cause():
    space = {"learning_rate": log_uniform(900.0, 1000.0), "dropout": uniform(0.0, 0.1)}
    fixed = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "relu", "optimizer": "sgd", "epochs": 30}
    search = run_search(space, trials=3, **fixed)
    with pytest.raises(
        DivergedError, match=r"All 3 trials .* default 'learning_rate' trial 0 trains, so the cause is learning_rate 9"
    ):
        select_model(search, SCHEMA)


def test_proposals_that_cannot_be_combined_are_rejected_and_replaced():
    space = {"normalization": choice("batch", "none"), "batch_size": choice(1, 32), "dropout": uniform(0.0, 0.5)}
    search = run_search(space)
    assert len(search.history.trials) == 12
    assert search.history.rejections
    assert all(
        (trial.proposal.params["normalization"], trial.proposal.params["batch_size"]) != ("batch", 1)
        for trial in search.history.trials
    )


def test_a_space_whose_proposals_are_all_rejected_raises_the_reason(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.coordinator.MAX_REJECTIONS", 5)
    space = {"batch_size": choice(1), "dropout": uniform(0.0, 0.5)}
    with pytest.raises(SpecError, match="normalization batch needs batches of two or more rows"):
        run_search(space, normalization="batch")


def test_a_finite_space_whose_proposals_are_all_rejected_raises_the_reason():
    with pytest.raises(SpecError, match="normalization batch needs batches of two or more rows"):
        run_search({"batch_size": choice(1)}, normalization="batch")


def test_a_small_space_ends_the_search():
    search = run_search({"hidden_sizes": choice((4,), (8,))}, trials=100)
    assert len(search.history.trials) == 2
    assert search.early_end == (
        "the search ended after 2 trials, before 100 trials: the space has no further combination"
    )
    assert not run_search({"hidden_sizes": choice((4,), (8,))}, trials=2).early_end
    assert run_search({"hidden_sizes": choice((4,))}, trials=2).early_end.startswith("the search ended after 1 trial, ")


@pytest.mark.parametrize(("idle_fraction", "proposes_ahead"), [(np.inf, False), (0.0, True)])
def test_trials_are_proposed_late_unless_workers_would_wait_for_them(monkeypatch, idle_fraction, proposes_ahead):
    n_unscored, ask = [], Sampler.ask

    def count_unscored(self, number):
        n_unscored.append(sum(observation.score is None for observation in self.observations.values()))
        return ask(self, number)

    monkeypatch.setattr(Sampler, "ask", count_unscored)
    monkeypatch.setattr("rosenblatt.tuning.coordinator.MAX_IDLE_FRACTION", idle_fraction)
    run_search(trials=20, stopping="none", folds=2, epochs=3, threads=4)
    assert (max(n_unscored) > 4) == proposes_ahead


def test_a_search_ends_at_its_deadline_with_a_usable_model():
    """Only the deadline ends this search: its number of trials and its space are unbounded."""
    run = {"deadline": time.monotonic() + 0.5, "on_progress": time_limit(description="the search")}
    search = run_search(trials=None, minutes=1, epochs=100, hidden_sizes=(256, 256), space=None, run=run)
    assert not search.history.is_exhausted
    assert not search.interrupted
    assert select_model(search, SCHEMA).model.predict_raw(FRAME).shape == (150, 2)


def test_without_any_time_one_network_is_trained_for_an_epoch():
    search = run_search(run={"deadline": time.monotonic() - 1})
    assert sum(trial.folds.n_trained for trial in search.history.trials) >= 1
    assert select_model(search, SCHEMA).model.networks


def test_an_interrupted_search_keeps_the_best_so_far():
    def interrupt(progress):
        if progress.stopped + progress.finished + progress.paused > 2:
            raise KeyboardInterrupt

    search = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | {"trials": 100_000, "epochs": 50}).with_search_space(SPACE), make_prepared()
    )
    search.run(on_progress=interrupt)
    assert search.interrupted
    result = select_model(search, SCHEMA)
    assert result.model.metadata.interrupted
    assert all(trial.state in ("finished", "stopped") for trial in search.history.trials)


def test_a_search_interrupted_at_once_has_no_model(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.WorkerPool, "get", interrupt)
    monkeypatch.setattr(workers.WorkerPool, "drain", lambda _: [])
    monkeypatch.setattr(workers.WorkerPool, "submit", lambda *_: None)
    search = run_search()
    with pytest.raises(TrainingInterruptedError, match="no model to save"):
        select_model(search, SCHEMA)


def test_a_low_memory_limit_discards_the_networks_of_the_worst_trials():
    search = run_search(memory_gib=1e-4, trials=30)
    dropped = [trial for trial in search.history.trials if trial.reason.endswith("to save memory")]
    assert dropped
    assert all(trial.statistics.epochs == [1, 3, 9][trial.rung] for trial in dropped)  # their statistics are kept
    assert any(trial.state == "finished" for trial in search.history.trials)
    assert select_model(search, SCHEMA).model.networks
    best = min(search.history.trials, key=lambda trial: trial.score)
    assert best not in dropped


def test_population_based_training_copies_networks_and_changes_hyperparameters():
    search = run_search(stopping="pbt", trials=10, epochs=10)
    inheritors = [trial for trial in search.history.trials if trial.inherited_from]
    assert inheritors
    epoch, winner = inheritors[0].inherited_from[0]
    assert epoch < 10
    assert search.history.trials[winner].state == "finished"
    assert all(
        trial.statistics.epochs == 10 or any(m.finished for m in trial.folds.members) for trial in search.history.trials
    )
    assert {trial.proposal.params["hidden_sizes"] for trial in inheritors} <= {
        t.proposal.params["hidden_sizes"] for t in search.history.trials
    }


def test_two_goals_yield_a_pareto_front():
    search = run_search(sampler="nsga2", goal="score_and_size", stopping="none", trials=8)
    front = select_model(search, SCHEMA).metadata.front
    sizes = [trial.parameters for trial in front]
    assert sizes == sorted(sizes, reverse=True)  # best scores first, so each is smaller than the one before
    assert len(set(sizes)) == len(sizes)


def test_the_weights_of_the_ensemble_add_up_to_one():
    search = run_search(stopping="none")
    result = select_model(search, SCHEMA)
    assert sum(trial.weight for trial in result.model.trials) == pytest.approx(1)
    assert len(result.best.trials) == 1
    assert len(result.best.networks) == 3
    assert result.metadata.optimism >= 0
    assert result.metadata.trials.finished == 12


def test_without_an_ensemble_the_best_trial_is_the_model():
    search = run_search(ensemble=False)
    result = select_model(search, SCHEMA)
    best = min((t for t in search.history.trials if t.state == "finished"), key=lambda trial: trial.score)
    assert [trial.number for trial in result.model.trials] == [best.number]


def test_the_smallest_trial_near_the_best_is_selected_on_request():
    space = {"hidden_sizes": choice((4,), (64, 64)), "dropout": uniform(0.0, 0.1)}
    results = {
        simple: select_model(run_search(space, one_standard_error=simple, stopping="none"), SCHEMA)
        for simple in (False, True)
    }
    sizes = {simple: result.best.networks[0].architecture.n_parameters for simple, result in results.items()}
    assert sizes[True] <= sizes[False]
    assert len(results[True].model.trials) == 1


def test_the_members_of_a_trial_are_its_folds():
    search = run_search(trials=2, stopping="none")
    validation_rows = np.concatenate([member.validation for member in search.history.trials[0].folds.members])
    assert sorted(validation_rows) == list(range(150))


def test_given_splits_are_used():
    splits = [Fold(np.arange(100), np.arange(100, 150))]
    search = SearchCoordinator(Spec.from_hyperparameters(**FAST).with_search_space(SPACE), make_prepared(splits=splits))
    search.run()
    assert all(trial.folds.members[0].validation[0] == 100 for trial in search.history.trials)


def test_large_tables_are_compared_on_first_folds_and_a_hold_out_is_one_fold(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.plan.MIN_COMPARISON_ROWS", 80)
    search = run_search()
    assert [rung.folds for rung in search.plan.rungs] == [2, 2, 2, 3]
    assert {trial.folds.n_trained for trial in search.history.trials} == {2, 3}
    holdout = run_search(validate_on="holdout")
    assert len(holdout.plan.folds) == 1


def test_losses_with_and_without_probabilities_are_not_searched_together():
    space = {"loss": choice("cross_entropy", "hinge"), "dropout": uniform(0.0, 0.5)}
    with pytest.raises(SpecError, match="cannot be compared"):
        run_search(space)
    search = run_search(space, scoring="accuracy")
    assert any("cannot be searched together" in reason for reason in search.history.rejections)
    assert len({trial.proposal.resolved_spec.training.loss for trial in search.history.trials}) == 1


@pytest.mark.parametrize("stopping", ["asha", "median", "pbt"])
def test_a_resumed_search_equals_an_uninterrupted_one(tmp_path, stopping, monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.checkpoints.MAX_WRITE_FRACTION", 1.0)
    spec = Spec.from_hyperparameters(
        **FAST | {"deterministic": True, "stopping": stopping, "trials": 20}
    ).with_search_space(SPACE)
    uninterrupted = SearchCoordinator(spec, make_prepared())
    uninterrupted.run()
    path, rounds = tmp_path / "state", 0
    while True:
        resumed = SearchCoordinator(spec, make_prepared())
        checkpoint = SearchCheckpoint(resumed, path)
        n_calls = 0

        def interrupt(_, max_calls=1 + rounds):
            nonlocal n_calls
            n_calls += 1
            if n_calls > max_calls:
                raise KeyboardInterrupt

        resumed.run(on_progress=interrupt, save_checkpoint=checkpoint.save)
        rounds += 1
        if not resumed.interrupted:
            break
    assert_equal_searches(uninterrupted, resumed)


@pytest.mark.parametrize("is_journal_complete", [True, False])
def test_population_based_training_that_was_killed_resumes_to_the_same_result(
    tmp_path, is_journal_complete, monkeypatch
):
    """Killed after the fourth save, or in it, when the members are written but the journal is not."""
    monkeypatch.setattr("rosenblatt.tuning.checkpoints.MAX_WRITE_FRACTION", 0.0)
    spec = Spec.from_hyperparameters(**FAST | {"stopping": "pbt", "trials": 20}).with_search_space(SPACE)
    uninterrupted = SearchCoordinator(spec, make_prepared())
    uninterrupted.run()
    killed = SearchCoordinator(spec, make_prepared())
    checkpoint = SearchCheckpoint(killed, tmp_path, notify=lambda _: None)
    n_saves = 0

    def fail(_):
        raise OSError

    def save():
        nonlocal n_saves
        n_saves += 1
        if n_saves == 4 and not is_journal_complete:
            monkeypatch.setattr(checkpoint, "_append", fail)
        if n_saves <= 4:
            checkpoint.save()

    killed.run(save_checkpoint=save)
    assert any(trial.inherited_from for trial in killed.history.trials)
    resumed = SearchCoordinator(spec, make_prepared())
    checkpoint = SearchCheckpoint(resumed, tmp_path)
    assert checkpoint.restored
    resumed.run(save_checkpoint=checkpoint.save)
    assert_equal_searches(uninterrupted, resumed)
    numbers = [path.stem.split("-")[1] for path in tmp_path.glob("trial-*.safetensors")]
    assert len(numbers) == len(set(numbers))


def test_a_state_saved_during_training_resumes_to_the_same_result(tmp_path, monkeypatch):
    """Members are saved as they were when their work items were dispatched."""
    monkeypatch.setattr("rosenblatt.tuning.coordinator.PROGRESS_INTERVAL_S", 0.0)
    spec = Spec.from_hyperparameters(**FAST | {"deterministic": True, "epochs": 60}).with_search_space(SPACE)
    uninterrupted = SearchCoordinator(spec, make_prepared())
    uninterrupted.run()
    stopped = SearchCoordinator(spec, make_prepared())
    checkpoint = SearchCheckpoint(stopped, tmp_path / "state")
    n_writes = 0

    def save():
        nonlocal n_writes
        if n_writes < 4:  # as after kill -9: nothing is written at the end
            checkpoint.save()
            n_writes += 1

    stopped.run(save_checkpoint=save)
    resumed = SearchCoordinator(spec, make_prepared())
    assert SearchCheckpoint(resumed, tmp_path / "state").restored
    assert 0 < len(resumed.history.trials) <= 12
    resumed.run()
    assert_equal_searches(uninterrupted, resumed)


def test_a_search_continues_if_its_state_cannot_be_saved(tmp_path):
    messages = []
    (tmp_path / "file").write_text("a file is no folder")
    search = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | {"trials": 3}).with_search_space(SPACE), make_prepared()
    )
    checkpoint = SearchCheckpoint(search, tmp_path / "file" / "state", messages.append)
    search.run(save_checkpoint=checkpoint.save)
    assert len(messages) == 1
    assert "its state cannot be saved" in messages[0]
    assert len(search.history.trials) == 3


def test_a_resumed_search_may_have_more_trials(tmp_path):
    path = tmp_path / "state"
    for trials in (5, 9):
        search = SearchCoordinator(
            Spec.from_hyperparameters(**FAST | {"trials": trials}).with_search_space(SPACE), make_prepared()
        )
        checkpoint = SearchCheckpoint(search, path)
        search.run(save_checkpoint=checkpoint.save)
        assert len(search.history.trials) == trials


@pytest.mark.parametrize("space", [None, SPACE | {"activation": choice("gelu", ("relu", "silu"))}])
def test_a_search_interrupted_within_a_round_resumes_to_the_same_result(tmp_path, monkeypatch, space):
    monkeypatch.setattr("rosenblatt.tuning.coordinator.ROUND_SIZE", 4)
    monkeypatch.setattr("rosenblatt.tuning.coordinator.PROGRESS_INTERVAL_S", 0.0)
    spec = Spec.from_hyperparameters(**FAST | {"deterministic": True, "trials": 14, "epochs": 6}).with_search_space(
        space or {}
    )
    uninterrupted = SearchCoordinator(spec, make_prepared())
    uninterrupted.run()
    for stop_at in (1, 9, 10_000):
        resumed, n_calls = SearchCoordinator(spec, make_prepared()), 0
        checkpoint = SearchCheckpoint(resumed, tmp_path / "state")

        def interrupt(_, max_calls=stop_at):
            nonlocal n_calls
            n_calls += 1
            if n_calls > max_calls:
                raise KeyboardInterrupt

        resumed.run(on_progress=interrupt, save_checkpoint=checkpoint.save)
    assert_equal_searches(uninterrupted, resumed)


def test_a_search_whose_trials_all_fail_ends_at_its_deadline():
    space = {"learning_rate": log_uniform(900.0, 1000.0)}
    fixed = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "identity", "optimizer": "sgd", "epochs": 60}
    run = {"deadline": time.monotonic() + 0.5, "on_progress": time_limit(description="the search")}
    search = run_search(space, trials=None, minutes=1, run=run, **fixed)
    assert not search.history.is_exhausted
    with pytest.raises(DivergedError):
        select_model(search, SCHEMA)
    assert (
        sum(trial.folds.n_bytes > 0 for trial in search.history.trials) <= 2 + 3 * search.threads
    )  # the first, and those that were running


def test_a_fold_without_a_defined_score_is_ignored():
    order = np.argsort(Y, kind="stable")
    splits = [Fold(np.arange(0, 150, 2), np.arange(1, 150, 2)), Fold(order[20:], order[:20])]  # one class only
    spec = Spec.from_hyperparameters(**FAST | {"scoring": "roc_auc", "stopping": "none"}).with_search_space(SPACE)
    search = SearchCoordinator(spec, make_prepared(splits=splits), make_epoch_scorer("roc_auc"))
    search.run()
    assert all(0 <= trial.score <= 1 for trial in search.history.trials)


def test_a_first_trial_that_cannot_be_combined_is_skipped():
    space = {"perceptron_rule": choice("passive_aggressive_1", "delta"), "learning_rate": log_uniform(1e-3, 1.0)}
    fixed = {
        "kind": "perceptron",
        "perceptron_rule": "passive_aggressive_1",
        "epochs": 3,
        "folds": 3,
        "repeats": 1,
        "trials": 4,
    }
    search = SearchCoordinator(Spec.from_hyperparameters(**fixed).with_search_space(space), make_prepared())
    search.run()
    assert {trial.proposal.params["perceptron_rule"] for trial in search.history.trials} <= {
        "delta",
        "passive_aggressive_1",
    }
    assert len(search.history.trials) == 4


def test_population_based_training_reaches_its_last_epoch_whatever_the_first_rung():
    for min_epochs in (3, 7):
        search = run_search(stopping="pbt", epochs=10, min_epochs=min_epochs, trials=5)
        assert search.plan.rungs[-1].fraction == 1.0


def test_the_state_of_another_search_is_rejected(tmp_path):
    path = tmp_path / "state"
    search = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | {"trials": 2}).with_search_space(SPACE), make_prepared()
    )
    SearchCheckpoint(search, path).save()
    other = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | {"epochs": 4}).with_search_space(SPACE), make_prepared()
    )
    with pytest.raises(ModelFileError, match="another search"):
        SearchCheckpoint(other, path)
    rows = PreparedData(Dataset(FRAME, 1 - Y), target_with_loss)
    with pytest.raises(ModelFileError, match="another search"):
        SearchCheckpoint(SearchCoordinator(Spec.from_hyperparameters(**FAST).with_search_space(SPACE), rows), path)
    (path / "search.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(ModelFileError, match="not the state of a search"):
        SearchCheckpoint(search, path)


def test_perceptrons_are_searched_too():
    search = SearchCoordinator(
        Spec.from_hyperparameters(kind="perceptron", trials=15, epochs=6, folds=3, repeats=1), make_prepared()
    )
    search.run()
    assert {trial.proposal.resolved_spec.network.perceptron_rule for trial in search.history.trials} > {"rosenblatt"}
    assert select_model(search, SCHEMA).model.predict_raw(FRAME).shape == (150, 2)


def test_any_hyperparameter_can_be_searched():
    space = {
        "hidden_layers": integer(1, 3),
        "hidden_width": choice(4, 8),
        "activation": choice("relu", ("tanh", "gelu")),
        "initializer": choice("he_normal", "orthogonal"),
        "schedule": choice("constant", "one_cycle", "plateau"),
        "normalization": choice("none", "batch", "layer"),
        "numeric_encoding": choice("piecewise", "quantile", "none"),
        "bins": integer(2, 8),
        "batch_size": choice(16, "full"),
        "residual": choice(True, False),
        "batch_order": choice("shuffled", "stratified"),
    }
    search = run_search(space, trials=25, numeric_encoding="auto", epochs=3, sampler="random")
    assert len(search.history.trials) == 25
    assert not search.history.rejections
    assert all(
        ("bins" in t.proposal.params) == (t.proposal.params["numeric_encoding"] == "piecewise")
        for t in search.history.trials
    )
    model = select_model(search, SCHEMA).model
    assert np.isfinite(model.predict_raw(FRAME)).all()


class VanishingPool(WorkerPool):
    """Workers that have lost all machines, for the moment."""

    def __init__(self):
        super().__init__(1)
        self.threads = 0


def test_a_search_goes_on_when_its_machines_are_lost_while_no_item_is_in_training():
    spec = Spec.from_hyperparameters(**FAST | {"trials": 3})
    search = SearchCoordinator(
        spec.with_search_space(SPACE), make_prepared(), make_workers=lambda _threads: VanishingPool()
    )
    search.run()
    assert len(search.history.trials) == 3
