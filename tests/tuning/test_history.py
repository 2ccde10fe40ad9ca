"""History of a search: which trials changed since a revision."""

from types import SimpleNamespace

from rosenblatt.tuning.history import SearchHistory


def make_history(n_trials):
    history = SearchHistory()
    for number in range(n_trials):
        folds = SimpleNamespace(n_bytes=0)
        history.add(SimpleNamespace(number=number, state="running", reason="", pending_folds=0, folds=folds))
    return history


def numbers(trials):
    return [trial.number for trial in trials]


def test_new_trials_are_changes():
    history = make_history(3)
    assert numbers(history.changed_since(0)) == [0, 1, 2]
    assert history.changed_since(history.revision) == []


def test_each_reader_sees_the_changes_since_its_own_revision():
    history = make_history(4)
    first = history.revision
    history.mark_changed(history.trials[2])
    second = history.revision
    history.mark_changed(history.trials[0])
    history.mark_changed(history.trials[2])
    assert numbers(history.changed_since(first)) == [0, 2]
    assert numbers(history.changed_since(second)) == [0, 2]
    history.stop(history.trials[3], "interrupted")
    assert numbers(history.changed_since(second + 2)) == [3]
    assert (history.trials[3].state, history.trials[3].reason) == ("stopped", "interrupted")


def test_trials_that_have_ended_without_networks_are_not_active(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.history.MIN_ACTIVE", 0)
    history = make_history(4)
    history.stop(history.trials[0], "interrupted")
    history.stop(history.trials[1], "interrupted")
    history.trials[1].folds.n_bytes, history.trials[2].state = 8, "paused"
    history._max_active = 0
    assert sorted(numbers(history.active_trials)) == [1, 2, 3]
