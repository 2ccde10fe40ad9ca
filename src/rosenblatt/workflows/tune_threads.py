"""Training of the trials of a function in threads of this process."""

from __future__ import annotations

import threading

from rosenblatt.workflows.tune_record import TrialRun, TuneTrial
from rosenblatt.workflows.tune_search import FunctionSearch, TrainFunction, TrialOutcome


class ThreadTrainer:
    """Trains trials in the calling thread and in further ones.

    Args:
        train: the training function.
        search: proposes trials.
        n_threads: number of trials trained at a time.
    """

    def __init__(self, train: TrainFunction, search: FunctionSearch, n_threads: int) -> None:
        self._train, self._search = train, search
        self._threads = [threading.Thread(target=self._train_trials, daemon=True) for _ in range(n_threads - 1)]

    def train_all(self) -> None:
        """Train trials until the search proposes no more."""
        for thread in self._threads:
            thread.start()
        self._train_trials()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Wait for trials that were asked to stop."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _train_trials(self) -> None:
        while (trial := self._search.next_trial()) is not None:
            train_trial(self._train, trial, self._search.begin_trial(trial), self._search)


def train_trial(train: TrainFunction, trial: TuneTrial, run: TrialRun, search: FunctionSearch) -> None:
    """Call the training function for a trial, and end the trial; Ctrl-C is raised again."""
    outcome = TrialOutcome(is_interrupted=True)
    try:
        outcome = TrialOutcome(train(dict(trial.params), run))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's function may raise anything
        outcome = TrialOutcome(error=f"{type(error).__name__}: {error}")
    finally:
        search.end_trial(trial, run, outcome)
