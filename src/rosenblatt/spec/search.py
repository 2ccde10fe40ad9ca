"""The `search` section of a spec: how hyperparameters are searched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rosenblatt.spec.fields import DEEP_KINDS, Auto, SpecSection, hyperparameter_field


class SearchSpec(SpecSection):
    """The search for hyperparameters: how many are tried, which, and for how long."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = hyperparameter_field(
        None,
        "Sets of hyperparameters to try. With neither trials, minutes nor a space there is no search, but one fit; "
        "with a space alone 100 are tried.",
    )
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = hyperparameter_field(
        None, "Time for the whole command, from reading the table to the saved model; the best by then is kept."
    )
    sampler: Literal["random", "quasi_random", "tpe", "gp", "cma_es", "nsga2", "grid"] = hyperparameter_field(
        "tpe",
        "What proposes hyperparameters, by way of Optuna: at random, evenly spread, by densities of good and bad ones "
        "(tpe), by a Gaussian process (gp, needs PyTorch), by evolution (cma_es; nsga2 for two goals), or on a grid.",
        "Bergstra et al. 2011 (tpe); Hansen 2016 (cma_es); Deb et al. 2002 (nsga2); Akiba et al. 2019 (Optuna)",
    )
    stopping: Literal["asha", "hyperband", "median", "pbt", "none"] = hyperparameter_field(
        "asha",
        "Which trials may go on after some epochs: the best in so many (asha, hyperband), those no worse than the "
        "median, all; or trials copy better ones and change their hyperparameters (pbt).",
        "Li et al. 2020 (asha); Li et al. 2018 (hyperband); Golovin et al. 2017 (median); Jaderberg et al. 2017 (pbt)",
    )
    reduction_factor: int = hyperparameter_field(
        3, "One in so many trials earns the next rung.", ge=2, le=100, requires={"stopping": ["asha", "hyperband"]}
    )
    min_epochs: Annotated[int, Field(ge=1)] | Auto = hyperparameter_field(
        "auto", "Epochs after which a trial is first compared with others; auto is a twentieth of all."
    )
    validate_on: Literal["auto", "holdout", "folds"] = hyperparameter_field(
        "auto",
        "Rows on which trials are compared: one part of the training rows, or each in turn; auto takes one part from "
        "100,000 rows on, of convolutional and recurrent networks from 2,000 on.",
    )
    refit: bool | Auto = hyperparameter_field(
        "auto",
        "Train the best trials again at the end, on all training rows; auto does it where trials were compared on one "
        "part of them.",
        requires={"kind": list(DEEP_KINDS)},
    )
    repeats: Annotated[int, Field(ge=1, le=100)] | Auto = hyperparameter_field(
        "auto", "Times the folds are dealt anew; auto is 2 below 500 rows, else 1."
    )
    goal: Literal["score", "score_and_size"] = hyperparameter_field(
        "score",
        "What is sought: the best score, or all that no other beats both in score and in number of parameters.",
        requires={"sampler": ["nsga2"]},
    )
    ensemble: bool = hyperparameter_field(
        True, "Join the trials that do best together into one model.", "Caruana et al. 2004"
    )  # fmt: skip
    one_standard_error: bool = hyperparameter_field(
        False,
        "Instead of the best trial, take the one with fewest parameters within one standard error of it.",
        "Breiman et al. 1984",
    )
    memory_gib: Annotated[float, Field(gt=0)] | Auto = hyperparameter_field(
        "auto", "Most memory, in GiB, for networks and encoded tables; auto is half of what the machine has free."
    )
    deterministic: bool = hyperparameter_field(
        False, "Decide in rounds, so that equal seeds give equal searches on any number of cores; cores wait a little."
    )
