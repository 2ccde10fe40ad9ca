"""Start of a run: its id, and what is known of it when it begins."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RESUME = "ROSENBLATT_RESUME"  # environment variable with the id of the interrupted run that a command resumes
RESUME_PLACE = "ROSENBLATT_RESUME_PLACE"  # environment variable with another place for it to train
RUN_ID = "ROSENBLATT_RUN_ID"  # environment variable with the id of the run that a command begins


def new_id() -> str:
    """Make the id of a run: 10 random characters of 32 that are hard to confuse."""
    return "".join(secrets.choice("23456789abcdefghjkmnpqrstuvwxyz") for _ in range(10))


def take_id() -> str:
    """The id of the run of a command, which the program that started it may have chosen."""
    return os.environ.pop(RUN_ID, "") or new_id()


@dataclass(frozen=True)
class RunStart:
    """Everything known of a run when it begins but its hyperparameters, data and snapshot."""

    kind: str  # fit, search, trial, script or track
    name: str = ""
    identity: str | None = None  # see `run_identity`
    parent: str | None = None  # the id of the search of a trial; by default the run of the script that runs it
    number: int | None = None  # of a trial
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
