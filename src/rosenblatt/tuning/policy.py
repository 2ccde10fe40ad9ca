"""Policy of a search: sampler and stopping rule, with a record of every decision from which both can be restored.

Neither of them is saved. Replaying the recorded decisions on new instances brings them into the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from rosenblatt.tuning.stopping import StoppingRule

if TYPE_CHECKING:
    from rosenblatt.tuning.samplers import Sampler


@dataclass(frozen=True)
class Ask:
    """Ask the sampler for the hyperparameters of a trial; None if the space is exhausted."""

    number: int
    kind: Literal["ask"] = "ask"


@dataclass(frozen=True)
class Enqueue:
    """Give the sampler a trial that it did not propose."""

    number: int
    params: dict[str, Any]
    kind: Literal["enqueue"] = "enqueue"


@dataclass(frozen=True)
class Tell:
    """Give the sampler the score of a trial at a rung."""

    number: int
    score: float
    epochs: int
    n_parameters: int
    finished: bool
    kind: Literal["tell"] = "tell"


@dataclass(frozen=True)
class Fail:
    """Tell the sampler that a trial failed."""

    number: int
    kind: Literal["fail"] = "fail"


@dataclass(frozen=True)
class Reject:
    """Tell the sampler that its proposal cannot be trained; the number is free for another one."""

    number: int
    kind: Literal["reject"] = "reject"


@dataclass(frozen=True)
class Report:
    """Give the stopping rule the score of a trial at a rung."""

    number: int
    rung: int
    score: float
    kind: Literal["report"] = "report"


@dataclass(frozen=True)
class Promote:
    """Ask the stopping rule for a trial to promote to its next rung; None if there is none."""

    no_more_trials: bool
    kind: Literal["promote"] = "promote"


Decision = Annotated[Ask | Enqueue | Tell | Fail | Reject | Report | Promote, Field(discriminator="kind")]


class SearchPolicy:
    """Makes all decisions of a search, and records those that changed the sampler or the stopping rule."""

    def __init__(self, sampler: Sampler, stopping_rule: StoppingRule) -> None:
        self.sampler, self._stopping_rule = sampler, stopping_rule
        self.decisions: list[Decision] = []

    def make(self, decision: Decision) -> Any:
        """Make a decision and record it. Returns the hyperparameters of `Ask`, and the trial of `Promote`."""
        result = self._apply(decision)
        if not isinstance(decision, Promote) or result is not None:  # a promotion of no trial changes nothing
            self.decisions.append(decision)
        return result

    def _apply(self, decision: Decision) -> Any:
        sampler, rule = self.sampler, self._stopping_rule
        match decision:
            case Ask(number):
                return sampler.ask(number)
            case Enqueue(number, params):
                return sampler.enqueue(number, params)
            case Tell(number, score, epochs, n_parameters, finished):
                return sampler.tell(number, score, epochs, n_parameters, finished)
            case Fail(number):
                return sampler.fail(number)
            case Reject(number):
                return sampler.reject(number)
            case Report(number, rung, score):
                return rule.report(number, rung, score)
            case Promote(no_more_trials):
                return rule.next_promotion(no_more_trials)
