"""Policy of a search: sampler and stopping rule, with a record of every decision from which both can be restored.

Neither of them is saved. Replaying the recorded decisions on new instances brings them into the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import Field

from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.stopping import StoppingRule

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Decision(Protocol[T_co]):
    """A call of the sampler or of the stopping rule."""

    def apply(self, policy: SearchPolicy) -> T_co:
        """Make the call."""


@dataclass(frozen=True)
class Ask:
    """Ask the sampler for the hyperparameters of a trial."""

    number: int
    kind: Literal["ask"] = "ask"

    def apply(self, policy: SearchPolicy) -> dict[str, Any] | None:
        """The proposed values, or None if the space is exhausted."""
        return policy.sampler.ask(self.number)


@dataclass(frozen=True)
class Enqueue:
    """Give the sampler a trial that it did not propose."""

    number: int
    params: dict[str, Any]
    kind: Literal["enqueue"] = "enqueue"

    def apply(self, policy: SearchPolicy) -> None:
        """Add the trial."""
        policy.sampler.enqueue(self.number, self.params)


@dataclass(frozen=True)
class Tell:
    """Give the sampler the score of a trial at a rung."""

    number: int
    score: float
    epochs: int
    n_parameters: int
    finished: bool
    kind: Literal["tell"] = "tell"

    def apply(self, policy: SearchPolicy) -> None:
        """Add the score."""
        policy.sampler.tell(self.number, self.score, self.epochs, self.n_parameters, self.finished)


@dataclass(frozen=True)
class Fail:
    """Tell the sampler that a trial failed."""

    number: int
    kind: Literal["fail"] = "fail"

    def apply(self, policy: SearchPolicy) -> None:
        """Mark the trial as failed."""
        policy.sampler.fail(self.number)


@dataclass(frozen=True)
class Reject:
    """Tell the sampler that its proposal cannot be trained."""

    number: int
    kind: Literal["reject"] = "reject"

    def apply(self, policy: SearchPolicy) -> None:
        """Free the number of the trial for another proposal."""
        policy.sampler.reject(self.number)


@dataclass(frozen=True)
class Report:
    """Give the stopping rule the score of a trial at a rung."""

    number: int
    rung: int
    score: float
    kind: Literal["report"] = "report"

    def apply(self, policy: SearchPolicy) -> None:
        """Add the score."""
        policy.stopping_rule.report(self.number, self.rung, self.score)


@dataclass(frozen=True)
class Promote:
    """Ask the stopping rule for a trial to promote to its next rung."""

    no_more_trials: bool
    kind: Literal["promote"] = "promote"

    def apply(self, policy: SearchPolicy) -> int | None:
        """The number of the trial, or None if no trial has earned its next rung."""
        return policy.stopping_rule.next_promotion(self.no_more_trials)


AnyDecision = Annotated[Ask | Enqueue | Tell | Fail | Reject | Report | Promote, Field(discriminator="kind")]


class SearchPolicy:
    """Makes all decisions of a search, and records those that changed the sampler or the stopping rule."""

    def __init__(self, sampler: Sampler, stopping_rule: StoppingRule) -> None:
        self.sampler, self.stopping_rule = sampler, stopping_rule
        self.decisions: list[Decision[Any]] = []

    def make(self, decision: Decision[T]) -> T:
        """Make a decision and record it."""
        result = decision.apply(self)
        if not isinstance(decision, Promote) or result is not None:  # a promotion of no trial changes nothing
            self.decisions.append(decision)
        return result
