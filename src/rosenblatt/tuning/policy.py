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

    def __call__(self, policy: SearchPolicy) -> T_co: ...


@dataclass(frozen=True)
class Ask:
    """Ask the sampler for the hyperparameters of a trial; None if the space is exhausted."""

    number: int
    kind: Literal["ask"] = "ask"

    def __call__(self, policy: SearchPolicy) -> dict[str, Any] | None:
        return policy.sampler.ask(self.number)


@dataclass(frozen=True)
class Enqueue:
    """Give the sampler a trial that it did not propose."""

    number: int
    params: dict[str, Any]
    kind: Literal["enqueue"] = "enqueue"

    def __call__(self, policy: SearchPolicy) -> None:
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

    def __call__(self, policy: SearchPolicy) -> None:
        policy.sampler.tell(self.number, self.score, self.epochs, self.n_parameters, self.finished)


@dataclass(frozen=True)
class Fail:
    """Tell the sampler that a trial failed."""

    number: int
    kind: Literal["fail"] = "fail"

    def __call__(self, policy: SearchPolicy) -> None:
        policy.sampler.fail(self.number)


@dataclass(frozen=True)
class Reject:
    """Tell the sampler that its proposal cannot be trained; the number is free for another one."""

    number: int
    kind: Literal["reject"] = "reject"

    def __call__(self, policy: SearchPolicy) -> None:
        policy.sampler.reject(self.number)


@dataclass(frozen=True)
class Report:
    """Give the stopping rule the score of a trial at a rung."""

    number: int
    rung: int
    score: float
    kind: Literal["report"] = "report"

    def __call__(self, policy: SearchPolicy) -> None:
        policy.stopping_rule.report(self.number, self.rung, self.score)


@dataclass(frozen=True)
class Promote:
    """Ask the stopping rule for a trial to promote to its next rung; None if there is none."""

    no_more_trials: bool
    kind: Literal["promote"] = "promote"

    def __call__(self, policy: SearchPolicy) -> int | None:
        return policy.stopping_rule.next_promotion(self.no_more_trials)


AnyDecision = Annotated[Ask | Enqueue | Tell | Fail | Reject | Report | Promote, Field(discriminator="kind")]


class SearchPolicy:
    """Makes all decisions of a search, and records those that changed the sampler or the stopping rule."""

    def __init__(self, sampler: Sampler, stopping_rule: StoppingRule) -> None:
        self.sampler, self.stopping_rule = sampler, stopping_rule
        self.decisions: list[Decision[Any]] = []

    def make(self, decision: Decision[T]) -> T:
        """Make a decision and record it."""
        result = decision(self)
        if not isinstance(decision, Promote) or result is not None:  # a promotion of no trial changes nothing
            self.decisions.append(decision)
        return result
