"""In: a spec with a space, and prepared rows. Out: trials, of which those went on that earned it.

The coordinator below decides; the crew's threads train, a fold of a trial and a rung at a time, and are never without
work while there is some. It reads from top to bottom: propose, give out, hear what was done, compare, go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from typing import Any

import numpy as np

from rosenblatt.data.media.columns import kinds_of_media
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import Prepared, ScoreOf, form_of
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member
from rosenblatt.training.population import Score
from rosenblatt.training.recipes import recipe_of
from rosenblatt.training.state import Recipe
from rosenblatt.training.workers import LISTEN, Crew
from rosenblatt.tuning.default_spaces import default_space
from rosenblatt.tuning.device_workers import LaneCrew
from rosenblatt.tuning.planning import check_search, folds_of, memory_of, refits, rungs_of
from rosenblatt.tuning.population_based import exploits, perturbed
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.stopping import stopping_of
from rosenblatt.tuning.time_budget import Clock
from rosenblatt.tuning.trials import Done, Trial, Unit

TRIALS = 100  # where only a space is given
POPULATION = 16  # trials of population-based training, where their number is not given
ROUND = 16  # trials that are proposed together where all is decided in rounds
AHEAD = 2  # work that waits for each thread, so that none is idle while the coordinator thinks
REFUSED = 1000  # proposals that cannot be combined, after which no more are made
GLANCE = 0.1  # seconds between two looks at how far it has come
KEPT = 40  # finished trials whose networks are kept, for the ensemble


@dataclass(frozen=True)
class Progress:
    """How far a search has come."""

    proposed: int
    running: int
    paused: int
    stopped: int
    finished: int
    failed: int
    asked: int | None  # trials there will be, where that is known
    best: float  # score so far; higher is better
    steps: int
    seconds: float
    left: float | None  # seconds, where there is an end
    again: tuple[int, int] | None = None  # networks that were trained again on all rows, and how many will be


class Search:
    """A search, which `run` carries out; its trials can be read at any time.

    Args:
        spec: hyperparameters, what is searched (`spec.space`, or else the default space), how (`spec.search`).
        score_of: makes what scores an epoch; else the loss does.

    Raises:
        SpecError: for a space that does not fit, or more folds than there are rows of a class.
    """

    def __init__(
        self, spec: Spec, prepared: Prepared, score_of: ScoreOf | None = None, threads: int | None = None
    ) -> None:
        rows, target = len(prepared.data.y), prepared.target(spec)
        self.defaults = not spec.space
        if self.defaults:
            media = kinds_of_media(prepared.data.frame)
            spec = spec.model_copy(update={"space": default_space(spec, target.task, rows, media)})
        check_search(spec)
        self.spec, self.search, self.prepared = spec, spec.search, prepared
        self.space = Space.of(spec)
        self.folds = folds_of(spec, prepared)
        self.refits = refits(spec, self.folds, prepared)
        self.rungs = rungs_of(spec, self.folds, prepared.resolved(self.space.base)["epochs"])
        self._stopping = stopping_of(self.search, len(self.rungs))
        self.sampler = Sampler(self.search, self.space, spec.training.seed)
        if self.defaults:
            self._stopping.free.add(0)  # so that a search is never worse than no search
        self._deciders: dict[str, Callable[..., Any]] = {
            name: getattr(self.sampler, name) for name in ("ask", "add", "tell", "fail", "refuse")
        } | {name: getattr(self._stopping, name) for name in ("reached", "next")}
        self.trials: list[Trial] = []
        self.refused: list[str] = []  # proposals that cannot be combined, and why
        self.decisions: list[list[Any]] = []  # what sampler and stopping were asked, in its order
        self.rng = np.random.default_rng([spec.training.seed, 4])
        self.changed: set[int] = set()  # trials that changed since whoever keeps them kept them
        self.interrupted = self.exhausted = False
        self.wall = self.busy = 0.0  # seconds: of the search, and of its threads' work
        self._score_of, self._scores = score_of, dict[str, Score]()
        self._crew_size, self._ready = threads, list[tuple[Trial, int]]()
        self._given = 0
        self.clock = Clock(None, 1, self.trials, self.folds)
        self._in_rounds = self.search.deterministic or self.search.stopping == "pbt"
        self._memory = memory_of(self.search)
        self._asked = self.search.trials
        if self._asked is None and self.search.stopping == "pbt":
            self._asked = POPULATION
        if self._asked is None and self.search.minutes is None:
            self._asked = TRIALS

    def run(
        self,
        deadline: float | None = None,
        watch: Callable[[Progress], None] | None = None,
        keep: Callable[[], None] | None = None,
        said: int = 0,
    ) -> None:
        """Search until all is done, or Ctrl-C, or `deadline` (`time.monotonic`), before which time is kept to train the
        best again, where that is to be, and for networks to predict as many rows as will be `said`.

        What was learnt by then stays. Whatever the deadline, one network learns for an epoch. `keep` is called
        whenever trials have come to a rung.
        """
        started, collected = time.monotonic(), list[Done]()
        crew = self.new_crew()
        again = len(self.prepared.data.y) if self.refits else 0
        self.clock = Clock(deadline, crew.threads, self.trials, self.folds, again, said)
        try:
            looked = 0.0
            while self._give_out(crew) or self._given:
                done = self._hear(crew)
                collected += [done] if done is not None else []
                if collected and (not self._in_rounds or not self._given):
                    self._take_up(collected)
                    if keep and any(self.trials[number].state != "running" for number in self.changed):
                        keep()
                if time.monotonic() - looked > GLANCE:
                    looked = time.monotonic()
                    if watch:
                        watch(self.progress(looked - started))
                if (self.clock.left or 0.0) < 0 and self._may_end():
                    break
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            crew.close()
            self.wall += time.monotonic() - started
            self.threads = crew.threads
            if keep:  # before what was stopped half-way is taken up: it is done again where the search goes on
                keep()
            self._take_up(collected + [done for done in crew.heard() if done is not None])
            self._end()

    @property
    def utilization(self) -> float:
        """The share of the threads' time in which they worked."""
        return self.busy / max(self.wall * self.threads, 1e-9)

    @property
    def last(self) -> int:
        """The number of the last rung."""
        return len(self.rungs) - 1

    def decide(self, what: str, *arguments: Any) -> Any:
        """Ask sampler or stopping, or tell them; remembered, so that a search that goes on can ask the same again."""
        answer = self._deciders[what](*arguments)
        if what != "next" or answer is not None:  # which changes nothing
            self.decisions.append([what, *arguments])
        return answer

    def go_on(self) -> None:
        """Give out again what was given out when the state was kept."""
        for trial in self.trials:
            if trial.state == "running":
                self._begin(trial)

    def new_crew(self) -> Crew | LaneCrew:
        """Threads that do its work."""
        device = self.spec.training.device
        return Crew(self._crew_size) if device == "cpu" else LaneCrew(device)

    # Proposing

    def _propose(self) -> Trial | None:
        """A new trial; None where there are no more to be had."""
        while not self.exhausted and (self._asked is None or len(self.trials) < self._asked):
            number = len(self.trials)
            values = self._first_values() if number == 0 and not self.refused else None
            if values is None:
                values = self.decide("ask", number)
            elif self.space.contains(values):
                self.decide("add", number, values)
            if values is None:
                self.exhausted = True
                return None
            try:
                return self.new_trial(number, values)
            except SpecError as error:
                self.refused.append(str(error))
                self.decide("refuse", number)
                self.exhausted = len(self.refused) >= REFUSED
                if self.exhausted and not self.trials:
                    raise
        return None

    def _first_values(self) -> dict[str, Any] | None:
        """Those of the first trial, which is that without a search, where the space holds it or is the default one."""
        values = self.space.values_of(self.prepared.resolved(self.space.base))
        return values if self.defaults or self.space.contains(values) else None

    def new_trial(self, number: int, values: dict[str, Any]) -> Trial:
        """A trial with these values, which is one of the search's from now on. Raises SpecError."""
        chosen = self.prepared.resolved(self.space.spec(values))
        encoder, target = self.prepared.encoder(chosen), self.prepared.target(chosen)
        if self.trials and target.answers != self.trials[0].target.answers:
            raise SpecError("Losses that teach probabilities and losses that do not cannot be searched together.")
        trial = Trial(number, values, chosen, encoder, target, [None] * len(self.folds))
        self.trials.append(trial)
        self.changed.add(number)
        return trial

    # Giving out work

    def _give_out(self, crew: Crew | LaneCrew) -> bool:
        """Give the threads work for now and a little ahead, in rounds all there is; whether there was any."""
        if crew.stop[0] or (self._in_rounds and self._given):
            return False
        before, begun = self._given, 0
        going_on = bool(self._in_rounds and self._ready)  # the rest of a round whose state was kept
        while self._in_rounds or self._given < crew.threads * (1 + AHEAD):
            if not self._ready or self._in_rounds:
                trial = None if going_on else self._next_trial(begun)
                if trial is None and not self._ready:
                    break
                if trial is not None:
                    begun += trial.rung < 0
                    self._begin(trial)
                    if self._in_rounds:
                        continue
            if self._ending():
                self._ready.sort(key=lambda unit: -self._cost(*unit))  # the longest first, so that none is last alone
            for unit in self._ready if self._in_rounds else [self._ready.pop(0)]:
                self._give(crew, *unit)
            if self._in_rounds:
                self._ready.clear()
                break
        return self._given > before

    def _next_trial(self, begun: int) -> Trial | None:
        """The trial that has earned its next rung, or a new one."""
        while (number := self.decide("next", self._ending())) is not None:
            trial = self.trials[number]
            too_late = trial.rung + 1 == self.last and self.clock.is_too_late(trial)
            if trial.state == "paused" and not too_late:
                return trial
        if self._in_rounds and begun >= ROUND and self.search.stopping != "pbt":
            return None
        if self.search.stopping == "pbt" and any(trial.rung >= 0 for trial in self.trials):
            return None
        return self._propose() if self._has_room() and self.clock.is_enough() else None

    def _begin(self, trial: Trial) -> None:
        """Put a trial's work for its next rung among what is ready."""
        rung = self.rungs[trial.rung + 1]
        trial.state, trial.waiting = "running", rung.folds
        self.changed.add(trial.number)
        trial.rows = self.prepared.rows(trial.chosen)
        self._ready += [(trial, fold) for fold in range(rung.folds)]

    def _give(self, crew: Crew | LaneCrew, trial: Trial, fold: int) -> None:
        rung = self.rungs[trial.rung + 1]
        last, until = trial.rung + 1 == self.last, rung.epochs(trial.chosen)
        self._given += 1
        crew.give(Unit(trial, fold, self.folds[fold], until, self._score(trial), last))

    def _score(self, trial: Trial) -> Score | None:
        if self._score_of is None:
            return None
        key = trial.target.model_dump_json()
        if key not in self._scores:
            self._scores[key] = self._score_of(trial.target, self.prepared.y)
        return self._scores[key]

    def _cost(self, trial: Trial, fold: int) -> float:
        """How much work this is, about."""
        member = trial.members[fold]
        done = len(member.history) if member else 0
        size = trial.size or trial.encoder.width * 256
        return (self.rungs[trial.rung + 1].epochs(trial.chosen) - done) * self.folds[fold].rows.size * size

    def _ending(self) -> bool:
        """Whether no more trials will be proposed."""
        return self.exhausted or (self._asked is not None and len(self.trials) >= self._asked)

    # Hearing what was done

    def _hear(self, crew: Crew | LaneCrew) -> Done | None:
        """What was done next; None where nothing was for a while, or where work was left out."""
        left = self.clock.left
        try:
            done: Done | None = crew.listen(LISTEN if left is None else min(LISTEN, max(left, 0.001)))
        except Empty:
            return None
        self._given -= 1
        return done

    def _take_up(self, collected: list[Done]) -> None:
        """Note what came of work, in the order of trials."""
        for done in sorted(collected):
            self._take_up_one(done)
        collected.clear()

    def _take_up_one(self, done: Done) -> None:
        """Note what came of a fold's work; compare the trial with others where it was the last of its rung."""
        trial = self.trials[done.trial]
        self.changed.add(trial.number)
        trial.waiting -= 1
        trial.seconds += done.seconds
        self.busy += done.seconds
        if done.failure and trial.state != "failed":
            trial.state, trial.reason = "failed", done.failure
            trial.waiting -= sum(other is trial for other, _ in self._ready)
            self._ready = [(other, fold) for other, fold in self._ready if other is not trial]
            self.decide("fail", trial.number)
            self._exploit()
        trial.measure()
        if trial.state == "failed":
            if not trial.waiting:
                trial.rows = None
                if any(
                    other.state == "failed" for other in self.trials[: trial.number]
                ):  # one is looked at, at the end
                    self._drop(trial)
            return
        if trial.waiting or not self._has_reached(trial):
            return
        trial.rung += 1
        rung, finished = self.rungs[trial.rung], trial.rung == self.last
        trial.scores.append(trial.mean_score(rung.folds))
        self.decide("tell", trial.number, trial.score, rung.epochs(trial.chosen), trial.size, finished)
        trial.state, trial.rows = "finished" if finished else "paused", None
        if finished:
            trial.rest()
        if not finished and self.search.stopping != "pbt":
            self.decide("reached", trial.number, trial.rung, trial.score)
        self._exploit()
        self._shrink()

    def _has_reached(self, trial: Trial) -> bool:
        """Whether all its members have come as far as the rung asks; they have not, where they were interrupted."""
        rung = self.rungs[trial.rung + 1]
        until = rung.epochs(trial.chosen)
        return all(
            member is not None and (member.ended or len(member.history) >= min(until, member.epochs))
            for member in trial.members[: rung.folds]
        )

    def _exploit(self) -> None:
        """Where a whole population has reached a rung, the worst take over networks of the best, and all go on."""
        if self.search.stopping != "pbt":
            return
        alive = [trial for trial in self.trials if trial.state not in ("failed", "stopped")]
        if any(trial.state != "paused" for trial in alive):
            return
        for loser, winner in exploits({trial.number: trial.score for trial in alive}, self.rng).items():
            self._copy(self.trials[winner], self.trials[loser])
        for trial in alive:
            self.decide("reached", trial.number, trial.rung, trial.score)

    def _copy(self, winner: Trial, loser: Trial) -> None:
        """Have a trial go on from another's networks, with its hyperparameters a little changed."""
        self.changed.add(loser.number)
        loser.values = perturbed(self.space, winner.values, self.rng)
        loser.chosen = self.prepared.resolved(self.space.spec(loser.values))
        loser.encoder, loser.target = winner.encoder, winner.target
        loser.copied.append((winner.epochs, winner.number))
        loser.members = [member and _changed(member.copy(), loser.chosen, self.rng) for member in winner.members]

    def _may_end(self) -> bool:
        """Whether some network has learnt for an epoch, or could not."""
        return any(trial.trained or trial.state == "failed" for trial in self.trials)

    # Memory

    def _has_room(self) -> bool:
        """Whether another trial fits into the memory; one always does where nothing runs."""
        return not self._given or self._used() < self._memory

    def _used(self) -> int:
        return sum(trial.bytes for trial in self.trials) + self.prepared.bytes

    def _shrink(self) -> None:
        """Let go of networks that have little hope: of all but the best finished and the best paused trials; where
        memory is short, of more of those that are paused."""
        for trial in sorted((t for t in self.trials if t.state == "finished" and t.bytes), key=lambda t: -t.score)[
            KEPT:
        ]:
            self._drop(trial)
        if self.search.stopping == "pbt" and self._used() < self._memory:
            return
        paused = sorted((t for t in self.trials if t.state == "paused"), key=lambda t: (-t.rung, -t.score))
        while paused and (len(paused) > KEPT or self._used() >= self._memory):
            worst = paused.pop()
            worst.state, worst.reason = (
                "stopped",
                f"not among the best at rung {worst.rung + 1}; dropped to save memory",
            )
            self._drop(worst)
        if self._used() >= self._memory:
            self.prepared.keep_only({form_of(trial.chosen) for trial in self.trials if trial.state == "running"})

    def _drop(self, trial: Trial) -> None:
        trial.drop()
        self.changed.add(trial.number)

    def progress(self, seconds: float, again: tuple[int, int] | None = None) -> Progress:
        """How far it has come in so many seconds."""
        count = dict.fromkeys(("running", "paused", "stopped", "finished", "failed"), 0)
        for trial in self.trials:
            count[trial.state] += 1
        deadline = self.clock.deadline
        return Progress(
            proposed=len(self.trials),
            **count,
            asked=self._asked,
            best=max((trial.score for trial in self.trials), default=float("-inf")),
            steps=sum(trial.steps for trial in self.trials),
            seconds=seconds,
            left=None if deadline is None else max(deadline - time.monotonic(), 0.0),
            again=again,
        )

    def _end(self) -> None:
        """What is not finished is stopped."""
        for trial in self.trials:
            if trial.state in ("running", "paused"):
                self.changed.add(trial.number)
                reason = "interrupted" if trial.state == "running" else f"not among the best at rung {trial.rung + 1}"
                trial.state, trial.reason = "stopped", reason


def _changed(member: Member, chosen: Spec, rng: np.random.Generator) -> Member:
    """A member that learns on with other hyperparameters and other random numbers."""
    member.spec = chosen
    if isinstance(member.recipe, Recipe):
        member.recipe = recipe_of(chosen, member.architecture, member.recipe.strata)
    member.state.counter[0] = rng.integers(2**63, dtype=np.uint64)
    return member
