"""Compiled training of perceptrons.

A unit sums its inputs times weights, among them the bias, which is the weight of a constant input 1, and answers 1 if
the sum z is above 0, else 0 (the step function). It learns row by row: unit k moves by some `change[k]` along x, and
the rules differ in nothing but that (`update_sizes_one_vs_rest`, `update_sizes_multiclass`) and in what
they keep of the states that the perceptron goes through (averaged, pocket, voted).

Rows are dense or sparse (CSR). The perceptrons that vote are a network with a hidden layer of step units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.jit import jit
from rosenblatt.training.compiled.random import hash_counter, shuffle
from rosenblatt.training.compiled.row_operations import add_scaled_row, prefetch_row, squared_norm, weighted_sum

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
MAX_VOTES = 1e6
PREFETCH_ROWS = 4  # rows that are fetched ahead
ONE_VS_REST, KESLER, CRAMMER_SINGER = range(3)  # each unit answers a question of its own, or stands for a class
# What `MemberState.step` holds: rows seen; whether nothing was learnt from any row of the last epoch; for the pocket
# runs without mistake and how many rows it is right on; or how many hidden units are used, and which.
N_SEEN, CONVERGED, RUN_LENGTH, BEST_RUN, BEST_N_CORRECT = range(5)
N_USED = 2


class PerceptronConfig(NamedTuple):
    """How a perceptron learns."""

    rule: int
    scheme: int  # UNITS, KESLER or CRAMMER_SINGER
    n_in: int
    units: int
    learning_rate: float
    margin: float
    aggressiveness: float
    shuffled: int


@jit
def passive_step(rule, loss, x_squared_norm, aggressiveness):
    """The least step that mends `loss`, at most (1) or held back (2) by C (Crammer et al. 2006, figure 1)."""
    if rule == PASSIVE_2:
        return loss / (x_squared_norm + 0.5 / aggressiveness)
    step = loss / x_squared_norm
    return min(step, aggressiveness) if rule == PASSIVE_1 else step


@jit
def target_is_positive(rows, i, k, K):
    """Whether unit k of K should answer 1 to row i: its targets are zeros and ones, or the number of that unit."""
    return rows.t[i, k] > 0 if rows.t.shape[1] == K else k == int(rows.t[i, 0])


@jit
def update_sizes_one_vs_rest(config, z, rows, i, change):
    """The change of each unit that answers a question of its own; whether one was mistaken."""
    is_mistake = False
    for k in range(z.size):
        is_positive = target_is_positive(rows, i, k, z.size)
        sign = 1.0 if is_positive else -1.0
        is_wrong = is_positive != (z[k] > 0)
        is_mistake |= is_wrong
        if config.rule == MARGIN:
            change[k] = sign * config.learning_rate if sign * z[k] <= config.margin else 0.0
        elif config.rule in (PASSIVE, PASSIVE_1, PASSIVE_2):
            loss = 1.0 - sign * z[k]
            change[k] = (
                sign * passive_step(config.rule, loss, squared_norm(rows, i), config.aggressiveness)
                if loss > 0
                else 0.0
            )
        # the error is mended by a share (Widrow & Hoff 1960; alpha-LMS: Widrow & Lehr 1990)
        elif config.rule == ADALINE:
            change[k] = config.learning_rate * (sign - z[k]) / squared_norm(rows, i)
        elif config.rule == DELTA:  # down the gradient of the squared error
            change[k] = config.learning_rate * (sign - z[k])
        else:  # w += eta (t - y) x (Rosenblatt 1962, chapter 5)
            change[k] = sign * config.learning_rate if is_wrong else 0.0
    return is_mistake


@jit
def update_sizes_multiclass(config, z, label, rows, i, change):
    """The change of each unit that stands for a class, of which the largest sum wins; whether the wrong one did.

    The unit of the right class is corrected as if it had answered 0 instead of 1; and as if 1 instead of 0 the winner
    (Kesler's construction: Duda & Hart 1973, 5.12), or all that beat the right one (Crammer & Singer 2003).
    """
    rival = 1 if label == 0 else 0
    for k in range(z.size):
        change[k] = 0
        if k != label and z[k] > z[rival]:
            rival = k
    score_gap = z[label] - z[rival]
    is_mistake = score_gap < 0 or (score_gap == 0 and rival < label)  # of equals the first wins
    if config.rule in (PASSIVE, PASSIVE_1, PASSIVE_2):
        step = 0.0
        if score_gap < 1:
            step = passive_step(config.rule, 1.0 - score_gap, 2 * squared_norm(rows, i), config.aggressiveness)
    elif config.rule == MARGIN:
        step = config.learning_rate if score_gap <= config.margin else 0.0
    else:
        step = config.learning_rate if is_mistake else 0.0
    if step > 0:
        change[label] = step
        if config.scheme == CRAMMER_SINGER:
            threshold = z[label] - (config.margin if config.rule == MARGIN else 0.0)
            n_violators = 0
            for k in range(z.size):
                n_violators += k != label and z[k] >= threshold
            for k in range(z.size):
                if k != label and z[k] >= threshold:
                    change[k] = -step / n_violators
        else:
            change[rival] = -step
    return is_mistake


@jit
def update_sizes(config, z, rows, i, change):
    """Fill in the change of each unit; whether there was a mistake."""
    if config.scheme == ONE_VS_REST:
        return update_sizes_one_vs_rest(config, z, rows, i, change)
    return update_sizes_multiclass(config, z, int(rows.t[i, 0]), rows, i, change)


@jit
def load_units(theta, units):
    """Units (K, F + 1), weights and bias, from a layer's flat weights (F, K) and biases (K,)."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            units[k, j] = theta[j * K + k]


@jit
def store_units(units, theta):
    """The way back of `load_units`."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            theta[j * K + k] = units[k, j]


@jit
def train_linear(config, state, rows, losses, stop):
    """Pass over the rows len(losses) times; write the share of rows with a mistake to `losses`.

    Returns the epochs that were finished: fewer than asked when `stop[0]` was set, or when nothing was learnt from any
    row of one. Averaged, `state.m` holds each change times the number of rows seen before it (Collins 2002; Daumé
    2006); with a pocket, `state.mean` holds what is in it.
    """
    K, F, n = config.units, config.n_in, state.order.size
    units, sums = np.empty((K, F + 1), state.theta.dtype), np.empty((K, F + 1), state.theta.dtype)
    load_units(state.theta, units)
    if config.rule == AVERAGED:
        load_units(state.m, sums)
    z, change = np.empty(K, units.dtype), np.empty(K, units.dtype)
    is_counted = False  # whether these units were counted for the pocket
    n_finished = 0
    for epoch in range(losses.size):
        if config.shuffled:
            shuffle(state.order, state.counter)
        mistakes, updated = 0, False
        for position in range(n):
            if stop[0]:
                break
            prefetch_row(rows, state.order[min(position + PREFETCH_ROWS, n - 1)])
            i = state.order[position]
            for k in range(K):
                z[k] = weighted_sum(rows, i, units, k)
            is_mistake = update_sizes(config, z, rows, i, change)
            mistakes += is_mistake
            for k in range(K):
                if change[k] != 0:
                    updated = True
                    add_scaled_row(rows, i, units, k, change[k] * rows.weight[i])
                    if config.rule == AVERAGED:
                        add_scaled_row(rows, i, sums, k, change[k] * rows.weight[i] * state.step[N_SEEN])
            if config.rule == POCKET:
                is_counted = update_pocket(config, units, z, rows, state, is_mistake, is_counted and not is_mistake)
            state.step[N_SEEN] += 1
        if stop[0]:
            break
        losses[epoch] = mistakes / n
        n_finished = epoch + 1
        state.step[CONVERGED] = not updated
        if not updated:
            break
    store_units(units, state.theta)
    if config.rule == AVERAGED:
        store_units(sums, state.m)
    return n_finished


@jit
def update_pocket(config, units, z, rows, state, is_mistake, is_counted):
    """Put the units into the pocket if they have been right for longer than those in it, and are so more often over all
    rows: the ratchet (Gallant 1990, section III). Returns whether they were counted."""
    if is_mistake:
        state.step[RUN_LENGTH] = 0
        return False
    state.step[RUN_LENGTH] += 1
    if state.step[RUN_LENGTH] <= state.step[BEST_RUN] or is_counted:
        return is_counted
    n_correct = 0
    for i in state.order:
        for k in range(units.shape[0]):
            z[k] = weighted_sum(rows, i, units, k)
        n_correct += is_correct(config, z, rows, i)
    if n_correct > state.step[BEST_N_CORRECT]:
        state.step[BEST_N_CORRECT], state.step[BEST_RUN] = n_correct, state.step[RUN_LENGTH]
        store_units(units, state.mean)
    return True


@jit
def is_correct(config, z, rows, i):
    """Whether the units answer row i as they should."""
    if config.scheme != ONE_VS_REST:
        return np.argmax(z) == int(rows.t[i, 0])
    for k in range(z.size):
        if target_is_positive(rows, i, k, z.size) != (z[k] > 0):
            return False
    return True


@jit
def train_voted(config, state, rows, losses, stop):
    """`train_linear` for perceptrons whose every state votes as often as it was right (Freund & Schapire 1999, fig. 1).

    theta is a network (F, M, K) of M states: their weights and biases, what their votes weigh. `state.step` holds how
    many states there are and which is that of each unit, `state.counts` for how many rows each lasted. When there is no
    room, that which lasted shortest makes some.
    """
    K, F, n = config.units, config.n_in, state.order.size
    M = (state.theta.size - K) // (F + 1 + K)
    weights, biases = state.theta[: F * M].reshape((F, M)), state.theta[F * M : (F + 1) * M]
    counts, n_used, current = (
        state.counts.reshape((M, K)),
        state.step[N_USED : N_USED + 1],
        state.step[N_USED + 1 : N_USED + 1 + K],
    )
    units, z, change = np.zeros((K, F + 1), weights.dtype), np.empty(K, weights.dtype), np.empty(K, weights.dtype)
    if n_used[0] == 0:
        for k in range(K):
            current[k] = k
        n_used[0] = K
    for k in range(K):
        for j in range(F):
            units[k, j] = weights[j, current[k]]
        units[k, F] = biases[current[k]]
    n_finished = 0
    for epoch in range(losses.size):
        if config.shuffled:
            shuffle(state.order, state.counter)
        mistakes = 0
        for i in state.order:
            if stop[0]:
                break
            for k in range(K):
                z[k] = weighted_sum(rows, i, units, k)
            mistakes += update_sizes(config, z, rows, i, change)
            for k in range(K):
                if change[k] != 0:
                    add_scaled_row(rows, i, units, k, change[k] * rows.weight[i])
                    current[k] = free_slot(counts, n_used, current)
                    for j in range(F):
                        weights[j, current[k]] = units[k, j]
                    biases[current[k]] = units[k, F]
                counts[current[k], k] += 1
            state.step[N_SEEN] += 1
        if stop[0]:
            break
        losses[epoch] = mistakes / n
        n_finished = epoch + 1
        state.step[CONVERGED] = mistakes == 0
        if mistakes == 0:
            break
    set_vote_weights(counts, state.theta[(F + 1) * M : (F + 1 + K) * M], state.theta[(F + 1 + K) * M :])
    return n_finished


@jit
def set_vote_weights(counts, weights, biases):
    """Weights (M K,) and biases (K,) of the outputs: a step unit answers 0 or 1, a vote is -1 or 1, that is twice the
    answer less 1. Large counts (M, K) are scaled down to what float32 tells apart."""
    M, K = counts.shape
    total = 0.0
    for k in range(K):
        unit_total = 0.0
        for s in range(M):
            unit_total += counts[s, k]
        total = max(total, unit_total)
    scale = min(1.0, MAX_VOTES / max(total, 1.0))
    for k in range(K):
        unit_total = 0.0
        for s in range(M):
            weights[s * K + k] = 2 * scale * counts[s, k]
            unit_total += scale * counts[s, k]
        biases[k] = -unit_total


@jit
def free_slot(counts, n_used, current):
    """A free place for a state, or that of the one that lasted shortest and is not a unit's of now."""
    M, K = counts.shape
    if n_used[0] < M:
        n_used[0] += 1
        return n_used[0] - 1
    shortest, shortest_count = -1, np.inf
    for s in range(M):
        total, in_use = 0.0, False
        for k in range(K):
            total += counts[s, k]
            in_use |= current[k] == s
        if not in_use and total < shortest_count:
            shortest, shortest_count = s, total
    for k in range(K):
        counts[shortest, k] = 0
    return shortest


@jit
def write_logits(rows, index, theta, out):
    """Write z of the units in theta (F + 1, K) for the rows `index` to `out` (len(index), K)."""
    K = out.shape[1]
    units = np.empty((K, theta.size // K), theta.dtype)
    load_units(theta, units)
    for i in range(index.size):
        for k in range(K):
            out[i, k] = weighted_sum(rows, index[i], units, k)


@jit
def random_index(counter, n):
    """A number from 0 to n - 1; `counter` (1,) uint64 moves on by one."""
    counter[0] += np.uint64(1)
    return int((hash_counter(counter[0]) >> np.uint64(11)) * 2.0**-53 * n)
