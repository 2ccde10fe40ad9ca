"""The `search` section of a spec: how hyperparameters are searched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rosenblatt.spec.fields import FOR_DEEP, Auto, SpecSection, hyperparameter_field


class SearchSpec(SpecSection):
    """Hyperparameter search."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = hyperparameter_field(
        None,
        "Number of trials (sets of hyperparameters) to try. Setting trials, minutes or a search space starts a search; "
        "with a space alone it has 100 trials.",
    )
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = hyperparameter_field(
        None,
        "Time limit of a search in minutes, from reading the table to saving the model; the best result so far is "
        "kept.",
    )
    sampler: Literal["random", "quasi_random", "tpe", "gp", "cma_es", "nsga2", "grid"] = hyperparameter_field(
        "tpe",
        "Sampler of Optuna that proposes hyperparameters: random, quasi_random (evenly spread), tpe (tree-structured "
        "Parzen estimator), gp (Gaussian process, needs PyTorch), cma_es or nsga2 (evolutionary; nsga2 for two "
        "objectives), or grid.",
        "Bergstra et al. 2011 (tpe); Hansen 2016 (cma_es); Deb et al. 2002 (nsga2); Akiba et al. 2019 (Optuna)",
    )
    stopping: Literal["asha", "hyperband", "median", "pbt", "none"] = hyperparameter_field(
        "asha",
        "Rule that stops weak trials early: the best fraction continues at each rung (asha, hyperband), trials below "
        "the median stop (median), weak trials copy and vary better ones (pbt, population-based training), or none.",
        "Li et al. 2020 (asha); Li et al. 2018 (hyperband); Golovin et al. 2017 (median); Jaderberg et al. 2017 (pbt)",
    )
    reduction_factor: int = hyperparameter_field(
        3,
        "One in this many trials is promoted to the next rung.",
        ge=2,
        le=100,
        requires={"stopping": ["asha", "hyperband"]},
    )
    min_epochs: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto", "Number of epochs before a trial is first compared with others. auto is a twentieth of all epochs."
    )
    validate_on: Literal["auto", "holdout", "folds"] = hyperparameter_field(
        "auto",
        "Rows on which trials are compared: one fold of the training rows (holdout) or each fold in turn (folds, "
        "cross-validation). auto is holdout from 100,000 training rows (2,000 for cnn, rnn and channel_mlp), else "
        "folds.",
    )
    refit: bool | Auto = hyperparameter_field(
        "auto",
        "Train the best trials again on all training rows at the end. auto is true if trials were compared on a "
        "holdout.",
        requires=FOR_DEEP,
    )
    repeats: Annotated[int, Field(ge=1, le=100)] | Auto = hyperparameter_field(
        "auto",
        "Number of times the training rows are split into folds (repeated cross-validation). auto is 2 below 500 rows, "
        "else 1.",
    )
    goal: Literal["score", "score_and_size"] = hyperparameter_field(
        "score",
        "Objective of the search: the best score, or the Pareto front of score and number of parameters.",
        requires={"sampler": ["nsga2"]},
    )
    ensemble: bool = hyperparameter_field(
        True, "Combine the best trials into one ensemble, selected greedily.", "Caruana et al. 2004"
    )
    one_standard_error: bool = hyperparameter_field(
        False,
        "Choose the trial with the fewest parameters within one standard error of the best, instead of the best.",
        "Breiman et al. 1984",
    )
    memory_gib: Annotated[float, Field(gt=0)] | Auto = hyperparameter_field(
        "auto", "Memory limit for networks and encoded tables, in GiB. auto is half of the free memory."
    )
    deterministic: bool = hyperparameter_field(
        False,
        "Run the search in synchronous rounds: equal seeds give equal results on any number of cores, but cores wait "
        "for one another.",
    )
