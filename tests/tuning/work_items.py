"""Work items for tests of workers."""

from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.work_queue import WorkItem
from tests.tuning.test_coordinator import SPACE, make_prepared

EPOCHS = 3


def make_items(n_trials=2, epochs=EPOCHS, is_last_rung=True, **options):
    """Work items of all folds of a few trials, up to their last epoch."""
    spec = Spec.from_hyperparameters(epochs=100_000, patience=100_000, folds=2, repeats=1, trials=n_trials)
    search = SearchCoordinator(spec.with_search_space(SPACE), make_prepared())
    params = {"hidden_sizes": (4,), "learning_rate": 0.01, "dropout": 0.0, "optimizer": "adam"}
    trials = [search.new_trial(number, params) for number in range(n_trials)]
    for trial in trials:
        trial.rows = search.prepared.rows(trial.proposal.resolved_spec)
    return [
        WorkItem(trial, index, fold, epochs, None, is_last_rung=is_last_rung, **options)
        for trial in trials
        for index, fold in enumerate(search.plan.folds)
    ]
