"""Reference training of a member in PyTorch, with its gradients and optimizers, in float64."""

import numpy as np
import torch
from torch.nn import functional

torch.set_num_threads(1)  # tests run in parallel
torch.set_default_dtype(torch.float64)

ACTIVATIONS = {
    "identity": lambda z: z,
    "step": lambda z: torch.heaviside(z.detach(), torch.zeros((), dtype=z.dtype)) + 0 * z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "softplus": functional.softplus,
}


def _focal(z, t, gamma):
    logp = functional.log_softmax(z, dim=1).gather(1, t)[:, 0]
    return -((1 - logp.exp()) ** gamma) * logp


def _binary_focal(z, t, gamma):
    logp = torch.where(t > 0, functional.logsigmoid(z), functional.logsigmoid(-z))
    return (-((1 - logp.exp()) ** gamma) * logp).sum(dim=1)


def _multiclass_hinge(z, t, margin):
    label_logit = z.gather(1, t)[:, 0]
    rival = z.scatter(1, t, -torch.inf).max(dim=1).values
    return functional.relu(margin - label_logit + rival)


LOSSES = {
    "cross_entropy": lambda z, t, s: functional.cross_entropy(
        z, t[:, 0].long(), reduction="none", label_smoothing=s.label_smoothing
    ),
    "binary_cross_entropy": lambda z, t, s: functional.binary_cross_entropy_with_logits(
        z, t * (1 - s.label_smoothing) + s.label_smoothing / 2, reduction="none"
    ).sum(dim=1),
    "focal": lambda z, t, s: _focal(z, t.long(), s.focal_gamma),
    "binary_focal": lambda z, t, s: _binary_focal(z, t, s.focal_gamma),
    "squared": lambda z, t, s: functional.mse_loss(z, t, reduction="none").sum(dim=1),
    "absolute": lambda z, t, s: functional.l1_loss(z, t, reduction="none").sum(dim=1),
    "huber": lambda z, t, s: functional.huber_loss(z, t, reduction="none", delta=s.huber_delta).sum(dim=1),
    "quantile": lambda z, t, s: torch.maximum(s.quantile * (t - z), (s.quantile - 1) * (t - z)).sum(dim=1),
    "poisson": lambda z, t, s: functional.poisson_nll_loss(z, t, reduction="none").sum(dim=1),
    "hinge": lambda z, t, s: functional.relu(s.hinge_margin - torch.where(t > 0, z, -z)).sum(dim=1),
    "hinge_of_classes": lambda z, t, s: _multiclass_hinge(z, t.long(), s.hinge_margin),
    "perceptron": lambda z, t, s: functional.relu(-torch.where(t > 0, z, -z)).sum(dim=1),
    "perceptron_of_classes": lambda z, t, s: _multiclass_hinge(z, t.long(), 0.0),
}


def _optimizer(spec, groups):
    """Return PyTorch's optimizer without weight decay, which `train` applies before each step."""
    t, lr = spec.training, spec["learning_rate"]
    make = {
        "sgd": lambda: torch.optim.SGD(groups, lr),
        "momentum": lambda: torch.optim.SGD(groups, lr, momentum=t.beta1),
        "nesterov": lambda: torch.optim.SGD(groups, lr, momentum=t.beta1, nesterov=True),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr, alpha=t.beta2),
        "adagrad": lambda: torch.optim.Adagrad(groups, lr, eps=1e-8),
        "adam": lambda: torch.optim.Adam(groups, lr, betas=(t.beta1, t.beta2)),
        "adamw": lambda: torch.optim.AdamW(groups, lr, betas=(t.beta1, t.beta2), weight_decay=0),
        "nadam": lambda: torch.optim.NAdam(groups, lr, betas=(t.beta1, t.beta2), momentum_decay=1e6),
    }
    return make[t.optimizer]()


def _forward(architecture, parameters, running, x):
    a, last = x, len(architecture.sizes) - 2
    if architecture.scaling_layer:
        a = a * parameters[0, "scale"]
    for l in range(last + 1):
        z = a @ parameters[l, "weight"] + parameters[l, "bias"]
        if l == last:
            return z
        if architecture.normalization != "none":
            gain, shift = parameters[l, "gain"], parameters[l, "shift"]
            if architecture.normalization == "layer":
                z = functional.layer_norm(z, gain.shape, gain, shift)
            else:
                z = functional.batch_norm(
                    z, running[l, "mean"], running[l, "variance"], gain, shift, training=True, momentum=0.1
                )
        f = ACTIVATIONS[architecture.activation](z)
        if architecture.parametric_activation:
            f = z + parameters[l, "blend"] * (f - z)
        a = f + a if architecture.residual and l > 0 and a.shape == f.shape else f
    return a


def _bound(t, weights, lr):
    for W in weights:
        if t.l1:
            W.copy_(functional.softshrink(W, lr[id(W)] * t.l1))
        if t.max_norm:
            W.mul_((t.max_norm / W.norm(dim=0)).clamp(max=1))


def train(member, theta, rows, epochs, factors):
    """Train on rows in order; return theta and its running average. `factors` (steps, 3) are those of the engine."""
    spec, architecture = member.spec, member.architecture
    values_by_name = {key: torch.tensor(value) for key, value in architecture.parameters_by_name(theta).items()}
    running_stats = {key: value for key, value in values_by_name.items() if key[1] in ("mean", "variance")}
    parameters = {key: value.requires_grad_() for key, value in values_by_name.items() if key not in running_stats}
    layers = len(architecture.sizes) - 1
    t = spec.training
    rates = t.layer_lr_multipliers * layers if len(t.layer_lr_multipliers) == 1 else t.layer_lr_multipliers
    multipliers = {
        "bias": t.bias_lr_multiplier,
        "scale": t.scaling_layer_lr_multiplier,
        "blend": t.parametric_activation_lr_multiplier,
    }
    groups = [
        {"params": [p], "lr": spec["learning_rate"] * multipliers.get(name, 1) * (1 if name == "scale" else rates[l])}
        for (l, name), p in parameters.items()
    ]
    optimizer, first_rates = _optimizer(spec, groups), [group["lr"] for group in groups]
    x, target, weight = (torch.tensor(array) for array in (rows.x, rows.t, rows.weight))
    mean, n, step = {k: v.detach().clone() for k, v in values_by_name.items()}, len(x), 0
    batches = 1 if spec["batch_size"] == "full" else -(-n // spec["batch_size"])
    for _ in range(epochs):
        for b in range(batches):
            batch = slice(b * n // batches, (b + 1) * n // batches)
            z = _forward(architecture, parameters, running_stats, x[batch])
            loss = (LOSSES[member.loss](z, target[batch], t) * weight[batch]).sum() / (batch.stop - batch.start)
            optimizer.zero_grad()
            loss.backward()
            if t.clip_norm:
                length = torch.cat([p.grad.ravel() for p in parameters.values()]).norm()
                for p in parameters.values():
                    p.grad *= min(1.0, t.clip_norm / length)
            with torch.no_grad():
                for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                    group["lr"] = rate * factors[step, 0]
                weights = [parameters[l, "weight"] for l in range(layers)]
                lr = {id(g["params"][0]): g["lr"] for g in optimizer.param_groups}
                for W in weights:
                    W.mul_(1 - lr[id(W)] * spec["weight_decay"] * factors[step, 2])
                optimizer.step()
                _bound(t, weights, lr)
                step += 1
                for key, value in values_by_name.items():
                    mean[key] += (1 - min(t.ema_decay, (1 + step) / (10 + step))) * (value - mean[key])
    flat, averaged_flat = np.empty_like(theta), np.empty_like(theta)
    for key, view in architecture.parameters_by_name(flat).items():
        view[:] = values_by_name[key].detach().numpy()
    for key, view in architecture.parameters_by_name(averaged_flat).items():
        view[:] = mean[key].numpy()
    return flat, averaged_flat
