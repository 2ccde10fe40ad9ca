"""A search over a function, driven step by step: proposals, restarts of trials, and their ends."""

from __future__ import annotations

import os

import pytest

from rosenblatt.errors import SpecError, StoreError
from rosenblatt.runs.store.queries import find_runs, load_all_curves
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.start import RESUME, RESUME_PLACE
from rosenblatt.spec.dimensions import uniform
from rosenblatt.workflows.tune_search import FunctionSearch, TrialOutcome
from rosenblatt.workflows.tune_settings import TuneSettings


def make_search(**options):
    settings = {
        "trials": 4, "metric": "loss", "direction": "auto", "sampler": "random", "stopping": "asha",
        "reduction_factor": 2, "minutes": None, "workers": None, "seed": 0, "experiment": "", "data": (),
        "reuse": False, "store": None, "progress": False,
    }  # fmt: skip
    return FunctionSearch({"x": uniform(0, 1)}, TuneSettings(**settings | options))


class StepTrainer:
    """Trains trials as a test says."""

    def __init__(self, act):
        self._act = act

    def train_all(self):
        self._act()

    def close(self):
        pass


def run(search, act):
    return search.run(lambda params, run: None, StepTrainer(act))


def test_a_trial_that_starts_again_counts_once_also_for_the_stopping_rule(own_store):
    search = make_search()

    def act():
        first, second, third = (search.next_trial() for _ in range(3))
        lost = search.begin_trial(first)
        lost.log({"loss": -5.0}, step=0)  # better than all others
        again = search.restart_trial(first, lost, is_here=False)
        assert (first.score, first.curve) == (None, {})
        again.log({"loss": 1.0}, step=0)
        for trial, loss in ((second, 0.5), (third, 0.4)):
            other = search.begin_trial(trial)
            other.log({"loss": loss}, step=0)
            assert not other.stop_reason
            search.end_trial(trial, other, TrialOutcome())
        search.end_trial(first, again, TrialOutcome())

    result = run(search, act)
    assert result.best.score == 0.4
    store = Store(f"sqlite:///{own_store}/runs.db")
    trials = find_runs(store, parent=result.run)
    assert sorted(trial.number for trial in trials) == [0, 1, 2]
    assert {len(load_all_curves(store, trial.id)["loss"].values) for trial in trials} == {1}
    store.close()


def test_a_run_that_cannot_be_removed_is_reported(own_store, monkeypatch, capsys):
    search = make_search()

    def refuse(_self, _runs):
        raise StoreError("it is read-only")

    def act():
        trial = search.next_trial()
        lost = search.begin_trial(trial)
        with monkeypatch.context() as context:
            context.setattr("rosenblatt.workflows.tune_record.Store.delete", refuse)
            again = search.restart_trial(trial, lost, is_here=False)
        search.end_trial(trial, again, TrialOutcome(1.0))

    assert run(search, act).best.score == 1.0
    assert "starts again, but the points before stay in its run: it is read-only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (TrialOutcome(2.0), "finished", ""),
        (TrialOutcome(2.0, is_interrupted=True), "stopped", "interrupted"),
        (TrialOutcome(error="ValueError: x"), "failed", "ValueError: x"),
        (TrialOutcome(), "failed", "it logged no finite 'loss'"),
        (TrialOutcome(float("nan")), "failed", "it logged no finite 'loss'"),
    ],
)
def test_the_end_of_a_trial_says_how_it_has_ended(own_store, outcome, state, reason):
    search = make_search(trials=1)

    def act():
        trial = search.next_trial()
        search.end_trial(trial, search.begin_trial(trial), outcome)

    (trial,) = run(search, act).trials
    assert (trial.state, trial.reason) == (state, reason)


def test_trials_that_begin_after_the_end_of_the_search_are_asked_to_stop(own_store):
    search = make_search()

    def act():
        trial = search.next_trial()
        search._stop_trials()
        late = search.begin_trial(trial)
        assert late.should_stop
        search.end_trial(trial, late, TrialOutcome())

    (trial,) = run(search, act).trials
    assert (trial.state, trial.reason) == ("stopped", "interrupted")


def test_only_a_resumed_search_is_moved_to_the_place_of_runs_resume(own_store, monkeypatch):
    first = make_search(experiment="A", trials=1)
    run(first, lambda: None)
    monkeypatch.setenv(RESUME, first._record.run.id)
    monkeypatch.setenv(RESUME_PLACE, "lab")
    assert make_search(experiment="B").settings.on is None
    with pytest.raises(SpecError, match="reuse=True compares with what trials read on this machine"):
        make_search(experiment="A", reuse=True)
    monkeypatch.setenv(RESUME, first._record.run.id)
    monkeypatch.setenv(RESUME_PLACE, "local")
    assert make_search(experiment="A", on="lab", cores_per_trial=2).settings.on is None
    assert RESUME_PLACE not in os.environ
