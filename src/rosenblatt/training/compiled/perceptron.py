"""Compiled training of perceptrons.

A unit outputs 1 if its logit z, the weighted sum of its inputs plus the bias, is above 0, else 0. It is trained row by
row: the weights of unit k move by `change[k]` along x. The rules differ in that update size
(`update_sizes_one_vs_rest`, `update_sizes_multiclass`), and in the weight vectors that they keep (averaged, pocket,
voted).

Rows are dense or sparse (CSR). A voted perceptron is a network with a hidden layer of step units.
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
MAX_VOTES = 1e6  # larger vote counts are scaled down
PREFETCH_ROWS = 4  # rows to prefetch ahead of the current one
ONE_VS_REST, KESLER, CRAMMER_SINGER = range(3)  # independent units, or one unit per class
# Indices into `MemberState.step`: rows seen; whether the last epoch made no update; for the pocket the current run
# without mistakes, the pocket's run and its number of correct rows; or the number of used hidden units, then their ids.
N_SEEN, CONVERGED, RUN_LENGTH, BEST_RUN, BEST_N_CORRECT = range(5)
N_USED = 2


class PerceptronConfig(NamedTuple):
    """Hyperparameters of a perceptron's training, as numbers."""

    rule: int
    scheme: int  # ONE_VS_REST, KESLER or CRAMMER_SINGER
    n_in: int
    units: int
    learning_rate: float
    margin: float
    aggressiveness: float
    shuffled: int


@jit
def passive_step(rule, loss, x_squared_norm, aggressiveness):
    """The smallest step that makes `loss` 0, limited (1) or damped (2) by C (Crammer et al. 2006, figure 1)."""
    if rule == PASSIVE_2:
        return loss / (x_squared_norm + 0.5 / aggressiveness)
    step = loss / x_squared_norm
    return min(step, aggressiveness) if rule == PASSIVE_1 else step


@jit
def target_is_positive(rows, i, k, K):
    """Whether the target of unit k of K is 1 for row i; targets are zeros and ones (n, K), or class numbers (n, 1)."""
    return rows.t[i, k] > 0 if rows.t.shape[1] == K else k == int(rows.t[i, 0])


@jit
def update_sizes_one_vs_rest(config, z, rows, i, change):
    """Write the update size of each independent unit; return whether any unit was wrong."""
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
        # corrects a fraction of the error (Widrow & Hoff 1960; alpha-LMS: Widrow & Lehr 1990)
        elif config.rule == ADALINE:
            change[k] = config.learning_rate * (sign - z[k]) / squared_norm(rows, i)
        elif config.rule == DELTA:  # down the gradient of the squared error
            change[k] = config.learning_rate * (sign - z[k])
        else:  # w += eta (t - y) x (Rosenblatt 1962, chapter 5)
            change[k] = sign * config.learning_rate if is_wrong else 0.0
    return is_mistake


@jit
def update_sizes_multiclass(config, z, label, rows, i, change):
    """Write the update size of each class's unit; return whether a wrong class had the largest logit.

    The unit of the true class moves towards the row; the winner moves away from it (Kesler's construction: Duda & Hart
    1973, 5.12), or all units that beat the true class do (Crammer & Singer 2003).
    """
    rival = 1 if label == 0 else 0
    for k in range(z.size):
        change[k] = 0
        if k != label and z[k] > z[rival]:
            rival = k
    score_gap = z[label] - z[rival]
    is_mistake = score_gap < 0 or (score_gap == 0 and rival < label)  # ties go to the first class
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
    """Write the update size of each unit; return whether the row was misclassified."""
    if config.scheme == ONE_VS_REST:
        return update_sizes_one_vs_rest(config, z, rows, i, change)
    return update_sizes_multiclass(config, z, int(rows.t[i, 0]), rows, i, change)


@jit
def load_units(theta, units):
    """Copy a layer's flat weights (F, K) and biases (K,) to units (K, F + 1)."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            units[k, j] = theta[j * K + k]


@jit
def store_units(units, theta):
    """Copy units (K, F + 1) back to a layer's flat weights and biases."""
    K, F = units.shape[0], units.shape[1] - 1
    for k in range(K):
        for j in range(F + 1):
            theta[j * K + k] = units[k, j]


@jit
def train_linear(config, state, rows, losses, stop):
    """Train for len(losses) epochs; write the fraction of misclassified rows of each to `losses`.

    Returns the number of finished epochs, fewer if `stop[0]` was set or an epoch made no update. For the averaged
    perceptron `state.m` holds the sum of updates times the rows seen before them (Collins 2002; Daumé 2006); for the
    pocket algorithm `state.mean` is the pocket.
    """
    K, F, n = config.units, config.n_in, state.order.size
    units, sums = np.empty((K, F + 1), state.theta.dtype), np.empty((K, F + 1), state.theta.dtype)
    load_units(state.theta, units)
    if config.rule == AVERAGED:
        load_units(state.m, sums)
    z, change = np.empty(K, units.dtype), np.empty(K, units.dtype)
    is_counted = False  # whether the correct rows of the current units were counted
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
        losses[epoch], n_finished, state.step[CONVERGED] = mistakes / n, epoch + 1, not updated
        if not updated:
            break
    store_units(units, state.theta)
    if config.rule == AVERAGED:
        store_units(sums, state.m)
    return n_finished


@jit
def update_pocket(config, units, z, rows, state, is_mistake, is_counted):
    """Put the units into the pocket if their run is longer and they classify more rows correctly than the pocket.

    This is the pocket algorithm with ratchet (Gallant 1990, section III). Returns whether correct rows were counted.
    """
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
    """Whether the units classify row i correctly."""
    if config.scheme != ONE_VS_REST:
        return np.argmax(z) == int(rows.t[i, 0])
    for k in range(z.size):
        if target_is_positive(rows, i, k, z.size) != (z[k] > 0):
            return False
    return True


@jit
def train_voted(config, state, rows, losses, stop):
    """Train a voted perceptron, as `train_linear`: each weight vector votes (Freund & Schapire 1999, figure 1).

    theta is a network (F, M, K) with M weight vectors as hidden units. `state.step` holds their number and the current
    one of each output, `state.counts` (M K,) for how many rows each lasted. If all M are used, the one that lasted the
    fewest rows is replaced.
    """
    K, F, n = config.units, config.n_in, state.order.size
    M = (state.theta.size - K) // (F + 1 + K)
    weights, biases = state.theta[: F * M].reshape((F, M)), state.theta[F * M : (F + 1) * M]
    counts, n_used = state.counts.reshape((M, K)), state.step[N_USED : N_USED + 1]
    current = state.step[N_USED + 1 : N_USED + 1 + K]
    units, z, change = np.zeros((K, F + 1), weights.dtype), np.empty(K, weights.dtype), np.empty(K, weights.dtype)
    load_current_units(weights, biases, n_used, current, units)
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
def load_current_units(weights, biases, n_used, current, units):
    """Copy the current weight vector of each output to units (K, F + 1); at first, use slot k for output k."""
    K, F = units.shape[0], units.shape[1] - 1
    if n_used[0] == 0:
        for k in range(K):
            current[k] = k
        n_used[0] = K
    for k in range(K):
        for j in range(F):
            units[k, j] = weights[j, current[k]]
        units[k, F] = biases[current[k]]


@jit
def set_vote_weights(counts, weights, biases):
    """Write the output weights (M K,) and biases (K,) from counts (M, K): a vote is 2 a - 1 for a step unit's output a.

    Large counts are scaled down to the precision of float32.
    """
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
    """Return a free slot for a weight vector, or the slot of the unused vector that lasted the fewest rows."""
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
    """Write the logits of units theta (F + 1, K) for rows `index` to `out` (len(index), K)."""
    K = out.shape[1]
    units = np.empty((K, theta.size // K), theta.dtype)
    load_units(theta, units)
    for i in range(index.size):
        for k in range(K):
            out[i, k] = weighted_sum(rows, index[i], units, k)


@jit
def random_index(counter, n):
    """A random number from 0 to n - 1; `counter` (1,) uint64 advances by one."""
    counter[0] += np.uint64(1)
    return int((hash_counter(counter[0]) >> np.uint64(11)) * 2.0**-53 * n)
