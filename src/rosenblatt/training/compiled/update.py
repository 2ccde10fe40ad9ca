"""One update of a network's parameters from their gradient, for both engines on a CPU."""

from __future__ import annotations

from rosenblatt.training.compiled.jit import call_address, jit
from rosenblatt.training.compiled.regularization import apply_max_norm, clip, soft_threshold, update_ema


@jit
def update_parameters(optimizer, config, state, gradient, rate, decay):
    """Clip the gradient, take one optimizer step, regularize the weights and move their running average.

    Args:
        optimizer: address of the optimizer's kernel (`optimizers.py`).
        gradient: (n_parameters,), clipped in place.
        rate, decay: factors of all learning rates and weight decays in this step.
    """
    if config.clip_norm > 0:
        clip(gradient, config.clip_norm)
    state.step[0] += 1
    for g in range(config.groups.shape[0]):
        lo, hi, lr = config.groups[g, 0], config.groups[g, 1], config.rates[g, 0] * rate
        theta, decay_factor = state.theta[lo:hi], 1.0 - lr * config.rates[g, 1] * decay
        moments = state.m[lo:hi], state.v[lo:hi]
        settings = lr, decay_factor, config.beta1, config.beta2, state.step[0]
        call_address(optimizer, (theta, gradient[lo:hi], *moments, *settings))
        if config.l1 > 0 and config.rates[g, 2] > 0:
            soft_threshold(theta, lr * config.l1)
    if config.max_norm > 0:
        limit_unit_norms(config.unit_weights, state.theta, config.max_norm)
    if config.ema_decay > 0:
        update_ema(state.mean, state.theta, config.ema_decay, state.step[0])


@jit
def limit_unit_norms(unit_weights, theta, max_norm):
    """Apply max-norm to all weights of theta (n_parameters,); `unit_weights` as in `TrainingConfig`."""
    for w in range(unit_weights.shape[0]):
        start, n_units, n_in = unit_weights[w, 0], unit_weights[w, 1], unit_weights[w, 2]
        if unit_weights[w, 3]:  # (in, out): a unit's weights are a column
            apply_max_norm(theta[start : start + n_in * n_units], n_in, n_units, max_norm)
        else:  # (out, in): a unit's weights are contiguous
            for first in range(start, start + n_in * n_units, n_in):
                apply_max_norm(theta[first : first + n_in], n_in, 1, max_norm)
