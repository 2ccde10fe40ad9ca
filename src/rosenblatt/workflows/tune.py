"""Tune the hyperparameters of a user's training function with our samplers and stopping rules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rosenblatt.errors import SpecError
from rosenblatt.runs.store.locations import LOCAL_PLACE
from rosenblatt.spec.dimensions import Dimension
from rosenblatt.tuning.function_stopping import FunctionStoppingRule
from rosenblatt.workflows.tune_search import FunctionSearch, TrainFunction
from rosenblatt.workflows.tune_settings import TuneResult, TuneSettings
from rosenblatt.workflows.tune_threads import ThreadTrainer


def tune(
    train: TrainFunction,
    space: Mapping[str, Dimension],
    *,
    trials: int = 50,
    metric: str = "loss",
    direction: Literal["minimize", "maximize", "auto"] = "auto",
    sampler: str = "tpe",
    stopping: FunctionStoppingRule = "none",
    reduction_factor: int = 3,
    minutes: float | None = None,
    workers: int | None = None,
    seed: int = 0,
    experiment: str = "",
    data: Sequence[str | Path] = (),
    reuse: bool = False,
    store: str | None = None,
    progress: bool | None = None,
    on: str | None = None,
    cores_per_trial: int = 1,
    gpus_per_trial: int = 0,
) -> TuneResult:
    """Tune a training function of any framework: call it with proposed hyperparameters, and record what it logs.

    def train(params, run):
        for epoch in range(20):
            ...
            run.log({"val_loss": loss}, step=epoch)
            if run.should_stop:
                return

    result = rosenblatt.tune(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=50, metric="val_loss")

    If the function returns a number, it is logged as the metric. An exception in one trial is recorded for that trial
    and stops no other. After Ctrl-C the result has the trials so far; `rosenblatt runs resume` continues the search.

    Args:
        train: called with the hyperparameters of a trial and its run.
        space: dimensions by name: `choice`, `uniform`, `log_uniform`, `integer`.
        trials: number of trials.
        metric: name of the logged metric to optimize.
        direction: "minimize", "maximize", or "auto" to infer it from the name of the metric.
        sampler: "tpe", "random", "quasi_random", "gp", "cma_es" or "grid".
        stopping: rule that sets `run.should_stop`: "none"; "asha" if a trial is not among the best
            1 / `reduction_factor` after 1, `reduction_factor`, `reduction_factor`^2, ... reports of the metric;
            "median" if it is worse than the median of earlier trials.
        reduction_factor: of "asha".
        minutes: time limit; None for none. At its end no new trial starts, and `run.should_stop` becomes true in the
            trials that are running; their best scores so far count. A resumed search has all minutes again.
        workers: number of trials trained at a time, each in a thread; by default one. With `on`, by default as many as
            the machines have room for, each in a process.
        seed: seed of the proposals.
        experiment: name of the experiment in the store; by default that of the script.
        data: files that the function reads; they are part of the identity of a trial. With `on`, those below the
            working folder or in its repository are sent to the machines; others must be there, at the same path.
        reuse: whether to take over finished trials with the same source, hyperparameters, data and environment.
        store: path or URL of the store of runs, or "none"; by default the store of the working directory.
        progress: whether to show a progress bar; by default if standard error is a terminal.
        on: machines that train: a file of hosts, the name of a cluster that is up, the cluster file of a cloud,
            "slurm:PARTITION" or "ray://HEAD:PORT"; by default "local", this machine. Needs the extra `cluster`.
        cores_per_trial: with `on`, the cores of each trial.
        gpus_per_trial: with `on`, the GPUs of each trial, which CUDA_VISIBLE_DEVICES names.

    Returns:
        All trials, and the best one.

    Raises:
        SpecError: if a setting is out of range, the space cannot be searched, or the function cannot be sent.
        ClusterError: if the machines cannot be used.
        RunError: if another process has resumed the search meanwhile.
    """
    if not space:
        raise SpecError(
            "space must have at least one dimension, such as {'lr': rosenblatt.log_uniform(1e-4, 1e-1)}, but it is "
            "empty."
        )
    settings = TuneSettings(
        trials, metric, direction, sampler, stopping, reduction_factor, minutes, workers, seed, experiment, data, reuse,
        store, progress, None if on == LOCAL_PLACE else on, cores_per_trial, gpus_per_trial,
    )  # fmt: skip
    search = FunctionSearch(space, settings)
    if search.settings.on is None:  # `runs resume --on` may have changed it
        return search.run(train, ThreadTrainer(train, search, workers or 1))
    return _run_on_machines(train, search, search.settings.on)


def _run_on_machines(train: TrainFunction, search: FunctionSearch, on: str) -> TuneResult:
    """Open a cluster, and run a search on it."""
    from rosenblatt.cluster.open import open_cluster
    from rosenblatt.tuning.ray_trial_workers import RayTrialWorkers
    from rosenblatt.workflows.function_bundle import bundle_function
    from rosenblatt.workflows.tune_machines import MachineTrainer

    settings = search.settings
    bundle = bundle_function(train, settings.data, settings.store, _notify)
    with open_cluster(on, _notify) as connection:
        workers = RayTrialWorkers(connection, _notify, bundle, settings.cores_per_trial, settings.gpus_per_trial)
        try:
            return search.run(train, MachineTrainer(train, search, workers, _notify, settings.workers))
        finally:
            workers.close()


def _notify(message: str) -> None:
    print(f"rosenblatt: {message}", file=sys.stderr)
