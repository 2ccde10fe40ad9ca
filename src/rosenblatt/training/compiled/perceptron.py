"""In: one perceptron and the rows it learns from. Out: the perceptron after some passes of its learning rule.

A unit sums its inputs times weights, among them the bias, which is the weight of a constant input 1, and answers 1 if
the sum z is above 0, else 0 (the step function). It learns row by row: unit k moves by some `change[k]` along x, and
the rules differ in nothing but that (`changes_of_units`, `changes_of_classes`) and in what they keep of the states that
the perceptron goes through (averaged, pocket, voted).

Rows are dense or sparse (CSR). The perceptrons that vote are a network with a hidden layer of step units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.jit import compiled
from rosenblatt.training.compiled.random import hash_counter, shuffle
from rosenblatt.training.compiled.row_operations import fetch, move, square_length, weighted_sum

ROSENBLATT, AVERAGED, VOTED, POCKET, MARGIN, PASSIVE, PASSIVE_1, PASSIVE_2, ADALINE, DELTA, KERNEL = range(11)
RULES = {
    "rosenblatt": ROSENBLATT,
    "averaged": AVERAGED,
    "voted": VOTED,
    "pocket": POCKET,
    "margin": MARGIN,
    "passive_aggressive": PASSIVE,
    "passive_aggressive_1": PASSIVE_1,
    "passive_aggressive_2": PASSIVE_2,
    "adaline": ADALINE,
    "delta": DELTA,
    "kernel": KERNEL,
}
MOST_VOTES = 1e6
AHEAD = 4  # rows that are fetched ahead
UNITS, KESLER, CRAMMER_SINGER = range(3)  # each unit answers a question of its own, or stands for a class
# What `State.step` holds: rows seen; whether nothing was learnt from any row of the last epoch; for the pocket runs
# without mistake and how many rows it is right on; or how many hidden units are used, and which.
SEEN, STILL, RUN, BEST_RUN, BEST_RIGHT = range(5)
USED = 2


class Rule(NamedTuple):
    """How a perceptron learns."""

    rule: int
    scheme: int  # UNITS, KESLER or CRAMMER_SINGER
    n_in: int
    units: int
    learning_rate: float
    margin: float
    aggressiveness: float
    shuffled: int


@compiled
def passive_step(rule, loss, length, aggressiveness):
    """The least step that mends `loss`, at most (1) or held back (2) by C (Crammer et al. 2006, figure 1)."""
    if rule == PASSIVE_2:
        return loss / (length + 0.5 / aggressiveness)
    step = loss / length
    return min(step, aggressiveness) if rule == PASSIVE_1 else step


@compiled
def should(rows, i, k, K):
    """Whether unit k of K should answer 1 to row i: its targets are zeros and ones, or the number of that unit."""
    return rows.t[i, k] > 0 if rows.t.shape[1] == K else k == int(rows.t[i, 0])


@compiled
def changes_of_units(rule, z, rows, i, change):
    """The change of each unit that answers a question of its own; whether one was mistaken."""
    mistaken = False
    for k in range(z.size):
        holds = should(rows, i, k, z.size)
        s = 1.0 if holds else -1.0
        wrong = holds != (z[k] > 0)
        mistaken |= wrong
        if rule.rule == MARGIN:
            change[k] = s * rule.learning_rate if s * z[k] <= rule.margin else 0.0
        elif rule.rule in (PASSIVE, PASSIVE_1, PASSIVE_2):
            loss = 1.0 - s * z[k]
            change[k] = (
                s * passive_step(rule.rule, loss, square_length(rows, i), rule.aggressiveness) if loss > 0 else 0.0
            )
        elif rule.rule == ADALINE:  # the error is mended by a share (Widrow & Hoff 1960; alpha-LMS: Widrow & Lehr 1990)
            change[k] = rule.learning_rate * (s - z[k]) / square_length(rows, i)
        elif rule.rule == DELTA:  # down the gradient of the squared error
            change[k] = rule.learning_rate * (s - z[k])
        else:  # w += eta (t - y) x (Rosenblatt 1962, chapter 5)
            change[k] = s * rule.learning_rate if wrong else 0.0
    return mistaken


@compiled
def changes_of_classes(rule, z, label, rows, i, change):
    """The change of each unit that stands for a class, of which the largest sum wins; whether the wrong one did.

    The unit of the right class is corrected as if it had answered 0 instead of 1; and as if 1 instead of 0 the winner
    (Kesler's construction: Duda & Hart 1973, 5.12), or all that beat the right one (Crammer & Singer 2003).
    """
    rival = 1 if label == 0 else 0
    for k in range(z.size):
        change[k] = 0
        if k != label and z[k] > z[rival]:
            rival = k
    ahead = z[label] - z[rival]
    mistaken = ahead < 0 or (ahead == 0 and rival < label)  # of equals the first wins
    if rule.rule in (PASSIVE, PASSIVE_1, PASSIVE_2):
        step = 0.0
        if ahead < 1:
            step = passive_step(rule.rule, 1.0 - ahead, 2 * square_length(rows, i), rule.aggressiveness)
    elif rule.rule == MARGIN:
        step = rule.learning_rate if ahead <= rule.margin else 0.0
    else:
        step = rule.learning_rate if mistaken else 0.0
    if step > 0:
        change[label] = step
        if rule.scheme == CRAMMER_SINGER:
            wanted = z[label] - (rule.margin if rule.rule == MARGIN else 0.0)
            beat = 0
            for k in range(z.size):
                beat += k != label and z[k] >= wanted
            for k in range(z.size):
                if k != label and z[k] >= wanted:
                    change[k] = -step / beat
        else:
            change[rival] = -step
    return mistaken


@compiled
def changes(rule, z, rows, i, change):
    """Fill in the change of each unit; whether there was a mistake."""
    if rule.scheme == UNITS:
        return changes_of_units(rule, z, rows, i, change)
    return changes_of_classes(rule, z, int(rows.t[i, 0]), rows, i, change)


@compiled
def to_units(theta, units):
    """Units (K, F + 1), weights and bias, from a layer's flat weights (F, K) and biases (K,)."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            units[k, j] = theta[j * K + k]


@compiled
def from_units(units, theta):
    """The way back of `to_units`."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            theta[j * K + k] = units[k, j]


@compiled
def learn_units(rule, state, rows, losses, stop):
    """Pass over the rows len(losses) times; write the share of rows with a mistake to `losses`.

    Returns the epochs that were finished: fewer than asked when `stop[0]` was set, or when nothing was learnt from any
    row of one. Averaged, `state.m` holds each change times the number of rows seen before it (Collins 2002; Daumé
    2006); with a pocket, `state.mean` holds what is in it.
    """
    K, F, n = rule.units, rule.n_in, state.order.size
    units, sums = np.empty((K, F + 1), state.theta.dtype), np.empty((K, F + 1), state.theta.dtype)
    to_units(state.theta, units)
    if rule.rule == AVERAGED:
        to_units(state.m, sums)
    z, change = np.empty(K, units.dtype), np.empty(K, units.dtype)
    looked = False  # whether these units were counted for the pocket
    done = 0
    for epoch in range(losses.size):
        if rule.shuffled:
            shuffle(state.order, state.counter)
        mistakes, moved = 0, False
        for place in range(n):
            if stop[0]:
                break
            fetch(rows, state.order[min(place + AHEAD, n - 1)])
            i = state.order[place]
            for k in range(K):
                z[k] = weighted_sum(rows, i, units, k)
            mistaken = changes(rule, z, rows, i, change)
            mistakes += mistaken
            for k in range(K):
                if change[k] != 0:
                    moved = True
                    move(rows, i, units, k, change[k] * rows.weight[i])
                    if rule.rule == AVERAGED:
                        move(rows, i, sums, k, change[k] * rows.weight[i] * state.step[SEEN])
            if rule.rule == POCKET:
                looked = look(rule, units, z, rows, state, mistaken, looked and not mistaken)
            state.step[SEEN] += 1
        if stop[0]:
            break
        losses[epoch] = mistakes / n
        done = epoch + 1
        state.step[STILL] = not moved
        if not moved:
            break
    from_units(units, state.theta)
    if rule.rule == AVERAGED:
        from_units(sums, state.m)
    return done


@compiled
def look(rule, units, z, rows, state, mistaken, looked):
    """Put the units into the pocket if they have been right for longer than those in it, and are so more often over all
    rows: the ratchet (Gallant 1990, section III). Returns whether they were counted."""
    if mistaken:
        state.step[RUN] = 0
        return False
    state.step[RUN] += 1
    if state.step[RUN] <= state.step[BEST_RUN] or looked:
        return looked
    right = 0
    for i in state.order:
        for k in range(units.shape[0]):
            z[k] = weighted_sum(rows, i, units, k)
        right += answers_right(rule, z, rows, i)
    if right > state.step[BEST_RIGHT]:
        state.step[BEST_RIGHT], state.step[BEST_RUN] = right, state.step[RUN]
        from_units(units, state.mean)
    return True


@compiled
def answers_right(rule, z, rows, i):
    """Whether the units answer row i as they should."""
    if rule.scheme != UNITS:
        return np.argmax(z) == int(rows.t[i, 0])
    for k in range(z.size):
        if should(rows, i, k, z.size) != (z[k] > 0):
            return False
    return True


@compiled
def learn_votes(rule, state, rows, losses, stop):
    """`learn_units` for perceptrons whose every state votes, as often as it was right (Freund & Schapire 1999, fig. 1).

    theta is a network (F, M, K) of M states: their weights and biases, what their votes weigh. `state.step` holds how
    many states there are and which is that of each unit, `state.counts` for how many rows each lasted. When there is no
    room, that which lasted shortest makes some.
    """
    K, F, n = rule.units, rule.n_in, state.order.size
    M = (state.theta.size - K) // (F + 1 + K)
    weights, biases = state.theta[: F * M].reshape((F, M)), state.theta[F * M : (F + 1) * M]
    counts, used, now = state.counts.reshape((M, K)), state.step[USED : USED + 1], state.step[USED + 1 : USED + 1 + K]
    units, z, change = np.zeros((K, F + 1), weights.dtype), np.empty(K, weights.dtype), np.empty(K, weights.dtype)
    if used[0] == 0:
        for k in range(K):
            now[k] = k
        used[0] = K
    for k in range(K):
        for j in range(F):
            units[k, j] = weights[j, now[k]]
        units[k, F] = biases[now[k]]
    done = 0
    for epoch in range(losses.size):
        if rule.shuffled:
            shuffle(state.order, state.counter)
        mistakes = 0
        for i in state.order:
            if stop[0]:
                break
            for k in range(K):
                z[k] = weighted_sum(rows, i, units, k)
            mistakes += changes(rule, z, rows, i, change)
            for k in range(K):
                if change[k] != 0:
                    move(rows, i, units, k, change[k] * rows.weight[i])
                    now[k] = room(counts, used, now)
                    for j in range(F):
                        weights[j, now[k]] = units[k, j]
                    biases[now[k]] = units[k, F]
                counts[now[k], k] += 1
            state.step[SEEN] += 1
        if stop[0]:
            break
        losses[epoch] = mistakes / n
        done = epoch + 1
        state.step[STILL] = mistakes == 0
        if mistakes == 0:
            break
    cast_votes(counts, state.theta[(F + 1) * M : (F + 1 + K) * M], state.theta[(F + 1 + K) * M :])
    return done


@compiled
def cast_votes(counts, votes, zero):
    """Weights (M K,) and biases (K,) of the outputs: a step unit answers 0 or 1, a vote is -1 or 1, that is twice the
    answer less 1. Large counts (M, K) are scaled down to what float32 tells apart."""
    M, K = counts.shape
    total = 0.0
    for k in range(K):
        of_unit = 0.0
        for s in range(M):
            of_unit += counts[s, k]
        total = max(total, of_unit)
    scale = min(1.0, MOST_VOTES / max(total, 1.0))
    for k in range(K):
        of_unit = 0.0
        for s in range(M):
            votes[s * K + k] = 2 * scale * counts[s, k]
            of_unit += scale * counts[s, k]
        zero[k] = -of_unit


@compiled
def room(counts, used, now):
    """A free place for a state, or that of the one that lasted shortest and is not a unit's of now."""
    M, K = counts.shape
    if used[0] < M:
        used[0] += 1
        return used[0] - 1
    shortest, lasted = -1, np.inf
    for s in range(M):
        total, taken = 0.0, False
        for k in range(K):
            total += counts[s, k]
            taken |= now[k] == s
        if not taken and total < lasted:
            shortest, lasted = s, total
    for k in range(K):
        counts[shortest, k] = 0
    return shortest


@compiled
def sums_of_rows(rows, index, theta, out):
    """Write z of the units in theta (F + 1, K) for the rows `index` to `out` (len(index), K)."""
    K = out.shape[1]
    units = np.empty((K, theta.size // K), theta.dtype)
    to_units(theta, units)
    for i in range(index.size):
        for k in range(K):
            out[i, k] = weighted_sum(rows, index[i], units, k)


@compiled
def random_place(counter, n):
    """A number from 0 to n - 1; `counter` (1,) uint64 moves on by one."""
    counter[0] += np.uint64(1)
    return int((hash_counter(counter[0]) >> np.uint64(11)) * 2.0**-53 * n)
