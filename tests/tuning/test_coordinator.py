"""The scheduler: what is trained, stopped, gone on with, kept; budgets; equal searches."""

import time

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Data
from rosenblatt.data.schema.columns import of_types
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, ModelFileError, SpecError, StoppedEarlyError
from rosenblatt.models.prepared import Prepared
from rosenblatt.models.scorers import epoch_score
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.training import workers
from rosenblatt.tuning.checkpoints import Keeper
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.planning import folds_of
from rosenblatt.tuning.selection import outcome
from tests.waiting import time_limit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 3))
FRAME = pl.DataFrame({name: X[:, i] for i, name in enumerate("abc")})
Y = (X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=150) > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))


def taught(spec):
    return TARGET.taught_by(spec, Y)


SCHEMA = of_types(FRAME)
SPACE = {
    "hidden_sizes": choice((4,), (8, 8)),
    "learning_rate": log_uniform(1e-4, 1e-1),
    "dropout": uniform(0.0, 0.5),
    "optimizer": choice("adam", "momentum"),
}
FAST = {"epochs": 9, "first_rung": 1, "folds": 3, "repeats": 1, "numbers": "standard", "trials": 12}


def prepared(**more):
    return Prepared(Data(FRAME, Y), taught, **more)


def searched(space=SPACE, threads=None, run=None, **spec):
    score = epoch_score(spec["scoring"]) if "scoring" in spec else None
    search = Search(Spec.of(**FAST | spec).searching(space or {}), prepared(), score, threads)
    search.run(**run or {})
    return search


def equal(a, b):
    assert [trial.values for trial in a.trials] == [trial.values for trial in b.trials]
    assert [trial.scores for trial in a.trials] == [trial.scores for trial in b.trials]
    assert [trial.state for trial in a.trials] == [trial.state for trial in b.trials]
    ours, theirs = outcome(a, SCHEMA), outcome(b, SCHEMA)
    np.testing.assert_array_equal(ours.model.decoded(FRAME), theirs.model.decoded(FRAME))


def test_worse_trials_are_stopped_and_the_best_finish():
    search = searched()
    states = [trial.state for trial in search.trials]
    assert len(states) == 12
    assert set(states) == {"finished", "stopped"}
    assert 1 <= states.count("finished") < 6
    best = max(search.trials, key=lambda trial: trial.scores[0])
    assert best.rung > 0  # it earned more than the first rung
    assert all(trial.reason.startswith("not among the best") for trial in search.trials if trial.state == "stopped")
    assert all(trial.trained == 3 for trial in search.trials)


def test_rungs_are_epochs():
    search = searched(stopping="asha", trials=6)
    assert [rung.epochs(search.trials[0].chosen) for rung in search.rungs] == [1, 3, 9]
    for trial in search.trials:
        assert trial.epochs == [1, 3, 9][trial.rung]


@pytest.mark.parametrize("stopping", ["asha", "hyperband", "median", "none", "pbt"])
def test_deterministic_searches_are_equal_whatever_the_number_of_cores(stopping):
    equal(*(searched(stopping=stopping, deterministic=True, threads=threads) for threads in (1, 3)))


@pytest.mark.parametrize("sampler", ["random", "tpe", "cma_es"])
def test_deterministic_searches_are_equal_for_any_sampler(sampler):
    space = {"learning_rate": log_uniform(1e-4, 1e-1), "dropout": uniform(0.0, 0.5)}
    runs = [searched(space, sampler=sampler, deterministic=True, trials=25, epochs=3, threads=t) for t in (1, 2)]
    equal(*runs)


def test_a_trial_of_a_search_is_that_trial_trained_alone():
    search = searched(stopping="none", trials=4, threads=2)
    again = searched(stopping="none", trials=4, threads=1, deterministic=True)
    first, same = search.trials[0], again.trials[0]
    assert first.values == same.values
    for ours, theirs in zip(first.members, same.members, strict=True):
        np.testing.assert_array_equal(ours.best, theirs.best)


def test_no_thread_is_without_work_while_there_is_some():
    search = searched(epochs=60, trials=20, stopping="none", hidden_sizes=(64, 64), space=None, threads=2)
    assert search.utilization > 0.6  # of a search of a fraction of a second, on a machine that does other things too


def test_the_first_trial_of_the_default_space_is_what_fit_would_do():
    search = searched(space=None, trials=3, epochs=2)
    usual = search.prepared.resolved(Spec.of(**FAST | {"epochs": 2}).without_search())
    first = search.trials[0]
    assert first.chosen == usual
    assert first.state == "finished"


def test_a_trial_that_diverges_is_recorded_and_stops_no_other():
    space = {"learning_rate": choice(0.01, 1000.0), "optimizer": choice("sgd"), "l1": log_uniform(1e-9, 1e-8)}
    search = searched(space, clip_norm=0, stopping="none", hidden_sizes=(16, 16), activation="relu", epochs=30)
    failed = [trial for trial in search.trials if trial.state == "failed"]
    assert {trial.values["learning_rate"] for trial in failed} == {1000.0}
    assert "not finite" in failed[0].reason or "is nan" in failed[0].reason or "is inf" in failed[0].reason
    assert any(trial.state == "finished" for trial in search.trials)


def test_where_all_diverge_the_hyperparameter_that_did_it_is_named():
    space = {"learning_rate": log_uniform(900.0, 1000.0), "dropout": uniform(0.0, 0.1)}
    fixed = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "relu", "optimizer": "sgd", "epochs": 30}
    search = searched(space, trials=3, **fixed)
    with pytest.raises(DivergedError, match=r"All 3 trials .* default 'learning_rate' trial 0 learns: learning_rate 9"):
        outcome(search, SCHEMA)


def test_values_that_cannot_be_combined_are_refused_and_others_take_their_place():
    space = {"normalization": choice("batch", "none"), "batch_size": choice(1, 32), "dropout": uniform(0.0, 0.5)}
    search = searched(space)
    assert len(search.trials) == 12
    assert search.refused
    assert all((trial.values["normalization"], trial.values["batch_size"]) != ("batch", 1) for trial in search.trials)


def test_where_nothing_can_be_combined_that_is_said(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.coordinator.REFUSED", 5)
    space = {"batch_size": choice(1), "dropout": uniform(0.0, 0.5)}
    with pytest.raises(SpecError, match="normalization batch needs more rows"):
        searched(space, normalization="batch")


def test_a_small_space_ends_the_search():
    search = searched({"hidden_sizes": choice((4,), (8,))}, trials=100)
    assert len(search.trials) == 2


def test_time_is_kept_and_something_usable_comes_out():
    """Only the deadline ends this search: its number of trials and its space are unbounded."""
    run = {"deadline": time.monotonic() + 0.5, "watch": time_limit(description="the search")}
    search = searched(trials=None, minutes=1, epochs=100, hidden_sizes=(256, 256), space=None, run=run)
    assert not search.exhausted
    assert not search.interrupted
    assert outcome(search, SCHEMA).model.decoded(FRAME).shape == (150, 2)


def test_without_any_time_one_network_learns_for_an_epoch():
    search = searched(run={"deadline": time.monotonic() - 1})
    assert sum(trial.trained for trial in search.trials) >= 1
    assert outcome(search, SCHEMA).model.networks


def test_an_interrupted_search_keeps_the_best_so_far():
    def interrupt(progress):
        if progress.stopped + progress.finished + progress.paused > 2:
            raise KeyboardInterrupt

    search = Search(Spec.of(**FAST | {"trials": 100_000, "epochs": 50}).searching(SPACE), prepared())
    search.run(watch=interrupt)
    assert search.interrupted
    chosen = outcome(search, SCHEMA)
    assert chosen.model.facts["interrupted"]
    assert all(trial.state in ("finished", "stopped") for trial in search.trials)


def test_a_search_interrupted_at_once_has_nothing_to_keep(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.Crew, "listen", interrupted)
    monkeypatch.setattr(workers.Crew, "heard", lambda _: [])
    monkeypatch.setattr(workers.Crew, "give", lambda *_: None)
    search = searched()
    with pytest.raises(StoppedEarlyError, match="nothing to keep"):
        outcome(search, SCHEMA)


def test_memory_that_is_short_costs_the_worst_trials_their_networks_and_no_result():
    search = searched(memory=1e-4, trials=30)
    dropped = [trial for trial in search.trials if trial.reason.endswith("to save memory")]
    assert dropped
    assert all(trial.epochs == [1, 3, 9][trial.rung] for trial in dropped)  # what is recorded of them stays
    assert any(trial.state == "finished" for trial in search.trials)
    assert outcome(search, SCHEMA).model.networks
    best = max(search.trials, key=lambda trial: trial.score)
    assert best not in dropped


def test_population_based_training_copies_networks_and_changes_hyperparameters():
    search = searched(stopping="pbt", trials=10, epochs=10)
    copied = [trial for trial in search.trials if trial.copied]
    assert copied
    epoch, winner = copied[0].copied[0]
    assert epoch < 10
    assert search.trials[winner].state == "finished"
    assert all(trial.epochs == 10 or any(m.ended for m in trial.members) for trial in search.trials)
    assert {trial.values["hidden_sizes"] for trial in copied} <= {t.values["hidden_sizes"] for t in search.trials}


def test_two_goals_leave_a_front():
    search = searched(sampler="nsga2", goal="score_and_size", stopping="none", trials=8)
    front = outcome(search, SCHEMA).facts["front"]
    sizes = [trial["parameters"] for trial in front]
    assert sizes == sorted(sizes, reverse=True)  # the best scores first: whoever is worse is smaller
    assert len(set(sizes)) == len(sizes)


def test_the_ensemble_costs_no_more_out_of_fold_and_weighs_one():
    search = searched(stopping="none")
    chosen = outcome(search, SCHEMA)
    assert sum(trial.weight for trial in chosen.model.trials) == pytest.approx(1)
    assert len(chosen.best.trials) == 1
    assert len(chosen.best.networks) == 3
    assert chosen.facts["optimism"] >= 0
    assert chosen.facts["trials"]["finished"] == 12


def test_without_an_ensemble_the_best_trial_is_the_model():
    search = searched(ensemble=False)
    chosen = outcome(search, SCHEMA)
    best = max((t for t in search.trials if t.state == "finished"), key=lambda trial: trial.score)
    assert [trial.number for trial in chosen.model.trials] == [best.number]


def test_the_simplest_trial_near_the_best_is_taken_on_request():
    space = {"hidden_sizes": choice((4,), (64, 64)), "dropout": uniform(0.0, 0.1)}
    kept = {simple: outcome(searched(space, simplest=simple, stopping="none"), SCHEMA) for simple in (False, True)}
    sizes = {simple: one.best.networks[0].architecture.n_parameters for simple, one in kept.items()}
    assert sizes[True] <= sizes[False]
    assert len(kept[True].model.trials) == 1


def test_the_members_of_a_trial_are_its_folds():
    search = searched(trials=2, stopping="none")
    spared = np.concatenate([member.validation for member in search.trials[0].members])
    assert sorted(spared) == list(range(150))


def test_folds_of_ones_own_are_used():
    splits = [Fold(np.arange(100), np.arange(100, 150))]
    search = Search(Spec.of(**FAST).searching(SPACE), prepared(splits=splits))
    search.run()
    assert all(trial.members[0].validation[0] == 100 for trial in search.trials)


def test_large_tables_are_compared_on_first_folds_and_a_hold_out_is_one_fold(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.planning.ENOUGH_ROWS", 80)
    search = searched()
    assert [rung.folds for rung in search.rungs] == [2, 2, 2, 3]
    assert {trial.trained for trial in search.trials} == {2, 3}
    held = searched(validate_on="holdout")
    assert len(held.folds) == 1


def test_networks_that_take_long_are_compared_on_one_fold():
    data = Data(pl.DataFrame({"text": ["a"] * 2_000}), np.arange(2_000) % 2)
    rows = Prepared(data, taught)
    assert len(folds_of(Spec.of(kind="rnn", trials=2), rows)) == 1
    assert len(folds_of(Spec.of(kind="rnn", trials=2, validate_on="folds"), rows)) == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"folds": 151}, "folds is 151, but the rarest class has only"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"members": 4}, "members means nothing in a search"),
    ],
)
def test_folds_that_cannot_be_are_refused(spec, message):
    with pytest.raises(SpecError, match=message):
        Search(Spec.of(**FAST | spec).searching(SPACE), prepared())


def test_losses_with_and_without_probabilities_are_not_searched_together():
    space = {"loss": choice("cross_entropy", "hinge"), "dropout": uniform(0.0, 0.5)}
    with pytest.raises(SpecError, match="cannot be compared"):
        searched(space)
    search = searched(space, scoring="accuracy")
    assert any("cannot be searched together" in reason for reason in search.refused)
    assert len({trial.chosen.training.loss for trial in search.trials}) == 1


@pytest.mark.parametrize("stopping", ["asha", "median", "pbt"])
def test_a_search_that_goes_on_from_its_file_ends_as_if_it_had_not_been_stopped(tmp_path, stopping, monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.checkpoints.SHARE", 1.0)
    spec = Spec.of(**FAST | {"deterministic": True, "stopping": stopping, "trials": 20}).searching(SPACE)
    whole = Search(spec, prepared())
    whole.run()
    path, rounds = tmp_path / "state", 0
    while True:
        part = Search(spec, prepared())
        keeper = Keeper(part, path)
        heard = 0

        def interrupt(_, most=1 + rounds):
            nonlocal heard
            heard += 1
            if heard > most:
                raise KeyboardInterrupt

        part.run(watch=interrupt, keep=keeper.keep)
        rounds += 1
        if not part.interrupted:
            break
    equal(whole, part)


def test_a_state_in_the_middle_of_training_is_that_before_it(tmp_path, monkeypatch):
    """What is written while threads train is what each member was when it was given out."""
    monkeypatch.setattr("rosenblatt.tuning.coordinator.GLANCE", 0.0)
    spec = Spec.of(**FAST | {"deterministic": True, "epochs": 60}).searching(SPACE)
    whole = Search(spec, prepared())
    whole.run()
    part = Search(spec, prepared())
    keeper = Keeper(part, tmp_path / "state")
    writings = 0

    def keep():
        nonlocal writings
        if writings < 4:  # as by kill -9: nothing is written at the end
            keeper.keep()
            writings += 1

    part.run(keep=keep)
    again = Search(spec, prepared())
    assert Keeper(again, tmp_path / "state").restored
    assert 0 < len(again.trials) <= 12
    again.run()
    equal(whole, again)


def test_a_state_that_cannot_be_written_stops_nothing(tmp_path):
    said = []
    (tmp_path / "file").write_text("a file is no folder")
    search = Search(Spec.of(**FAST | {"trials": 3}).searching(SPACE), prepared())
    keeper = Keeper(search, tmp_path / "file" / "state", said.append)
    search.run(keep=keeper.keep)
    assert len(said) == 1
    assert "its state is not kept" in said[0]
    assert len(search.trials) == 3


def test_more_trials_may_be_asked_for_when_a_search_goes_on(tmp_path):
    path = tmp_path / "state"
    for trials in (5, 9):
        search = Search(Spec.of(**FAST | {"trials": trials}).searching(SPACE), prepared())
        keeper = Keeper(search, path)
        search.run(keep=keeper.keep)
        assert len(search.trials) == trials


@pytest.mark.parametrize("space", [None, SPACE | {"activation": choice("gelu", ("relu", "silu"))}])
def test_a_default_space_and_lists_in_it_go_on_equally(tmp_path, monkeypatch, space):
    """Stopped in the middle of a round of fewer trials than there are."""
    monkeypatch.setattr("rosenblatt.tuning.coordinator.ROUND", 4)
    monkeypatch.setattr("rosenblatt.tuning.coordinator.GLANCE", 0.0)
    spec = Spec.of(**FAST | {"deterministic": True, "trials": 14, "epochs": 6}).searching(space or {})
    whole = Search(spec, prepared())
    whole.run()
    for stop_at in (1, 9, 10_000):
        part, heard = Search(spec, prepared()), 0
        keeper = Keeper(part, tmp_path / "state")

        def interrupt(_, most=stop_at):
            nonlocal heard
            heard += 1
            if heard > most:
                raise KeyboardInterrupt

        part.run(watch=interrupt, keep=keeper.keep)
    equal(whole, part)


def test_time_ends_a_search_all_of_whose_trials_fail():
    space = {"learning_rate": log_uniform(900.0, 1000.0)}
    fixed = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "identity", "optimizer": "sgd", "epochs": 60}
    run = {"deadline": time.monotonic() + 0.5, "watch": time_limit(description="the search")}
    search = searched(space, trials=None, minutes=1, run=run, **fixed)
    assert not search.exhausted
    with pytest.raises(DivergedError):
        outcome(search, SCHEMA)
    assert sum(trial.bytes > 0 for trial in search.trials) <= 2 + 3 * search.threads  # the first, and what was running


def test_fewer_groups_or_times_than_folds_make_fewer_folds():
    few = {"groups": np.arange(150) % 4}, {"order": np.arange(150) % 4}
    for more, folds in zip(few, (4, 3), strict=True):
        data = Prepared(Data(FRAME, Y, **more), taught)
        search = Search(Spec.of(trials=1, epochs=1, repeats=1), data)
        assert len(search.folds) == folds


def test_a_fold_that_tells_no_score_decides_nothing():
    order = np.argsort(Y, kind="stable")
    splits = [Fold(np.arange(0, 150, 2), np.arange(1, 150, 2)), Fold(order[20:], order[:20])]  # one class only
    spec = Spec.of(**FAST | {"scoring": "roc_auc", "stopping": "none"}).searching(SPACE)
    search = Search(spec, prepared(splits=splits), epoch_score("roc_auc"))
    search.run()
    assert all(0 <= trial.score <= 1 for trial in search.trials)


def test_a_first_trial_that_cannot_be_is_left_out():
    space = {"rule": choice("passive_aggressive_1", "delta"), "learning_rate": log_uniform(1e-3, 1.0)}
    fixed = {"kind": "perceptron", "rule": "passive_aggressive_1", "epochs": 3, "folds": 3, "repeats": 1, "trials": 4}
    search = Search(Spec.of(**fixed).searching(space), prepared())
    search.run()
    assert {trial.values["rule"] for trial in search.trials} <= {"delta", "passive_aggressive_1"}
    assert len(search.trials) == 4


def test_population_based_training_comes_to_its_last_epoch_whatever_the_first_rung():
    for first in (3, 7):
        search = searched(stopping="pbt", epochs=10, first_rung=first, trials=5)
        assert search.rungs[-1].share == 1.0


def test_the_state_of_another_search_is_refused(tmp_path):
    path = tmp_path / "state"
    search = Search(Spec.of(**FAST | {"trials": 2}).searching(SPACE), prepared())
    Keeper(search, path).keep()
    other = Search(Spec.of(**FAST | {"epochs": 4}).searching(SPACE), prepared())
    with pytest.raises(ModelFileError, match="another search"):
        Keeper(other, path)
    rows = Prepared(Data(FRAME, 1 - Y), taught)
    with pytest.raises(ModelFileError, match="another search"):
        Keeper(Search(Spec.of(**FAST).searching(SPACE), rows), path)
    (path / "search.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(ModelFileError, match="not the state of a search"):
        Keeper(search, path)


def test_perceptrons_are_searched_too():
    search = Search(Spec.of(kind="perceptron", trials=15, epochs=6, folds=3, repeats=1), prepared())
    search.run()
    assert {trial.chosen.network.rule for trial in search.trials} > {"rosenblatt"}
    assert outcome(search, SCHEMA).model.decoded(FRAME).shape == (150, 2)


def test_any_hyperparameter_can_be_searched():
    space = {
        "hidden_layers": integer(1, 3),
        "hidden_width": choice(4, 8),
        "activation": choice("relu", ("tanh", "gelu")),
        "initializer": choice("he_normal", "orthogonal"),
        "schedule": choice("constant", "one_cycle", "plateau"),
        "normalization": choice("none", "batch", "layer"),
        "numbers": choice("piecewise", "quantile", "none"),
        "bins": integer(2, 8),
        "batch_size": choice(16, "full"),
        "residual": choice(True, False),
        "batches": choice("shuffled", "stratified"),
    }
    search = searched(space, trials=25, numbers="auto", epochs=3, sampler="random")
    assert len(search.trials) == 25
    assert not search.refused
    assert all(("bins" in t.values) == (t.values["numbers"] == "piecewise") for t in search.trials)
    model = outcome(search, SCHEMA).model
    assert np.isfinite(model.decoded(FRAME)).all()
