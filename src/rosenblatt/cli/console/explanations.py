"""Print on the terminal how a row passes through a network, its attributions, and the steps of a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from rosenblatt.inspection.perceptron_steps import Step

PLOT_WIDTH, PLOT_HEIGHT = 41, 15  # characters of a drawing of the plane
MAX_ITEMS = 10  # predictions, tokens or steps that are printed
STRONG_FRACTION, WEAK_FRACTION = 0.4, 0.15  # shares of the largest, from which on a part of an image is marked


def print_trace(trace: dict[str, Any], backward: bool) -> None:
    """A walk as `walkthrough.trace_to_dict` gives it: cells, inputs, then layer by layer, and back."""
    console = Console(highlight=False, soft_wrap=True)
    network_note = f", network {trace['network']} of {trace['networks']}" if trace["networks"] > 1 else ""
    console.print(f"[bold]row {trace['row']}{network_note}[/]")
    for name, cell in trace["cells"].items():
        cell_inputs = [i for i in trace["inputs"] if i["column"] == name]
        inputs = (
            ", ".join(f"{_input_suffix(i['input'], name)}{format_number(i['value'])}" for i in cell_inputs[:6])
            or "all 0"
        )
        overflow_note = f" and {len(cell_inputs) - 6} more" if len(cell_inputs) > 6 else ""
        console.print(f"  {escape(str(name))} = {escape(str(cell))}  [dim]enters as {escape(inputs)}{overflow_note}[/]")
    for layer in trace["layers"]:
        _print_layer(console, layer)
    console.print(f"[bold]predicted[/]  {escape(_format_predictions(trace['predicted']))}")
    if trace["networks"] > 1:
        console.print(
            f"  [dim]the model, the mean of {trace['networks']} networks: "
            f"{escape(_format_predictions(trace['model']))}[/]"
        )
    if backward:
        _print_gradients(console, trace)


def _print_layer(console: Console, layer: dict[str, Any]) -> None:
    n_shown = len(layer["top_units"])
    shown_note = f", the {n_shown} largest" if n_shown < layer["units"] else ""
    steps = ["z = inputs x weights + bias"]
    steps += [f"{layer['normalization']} normalization"] if layer["normalization"] != "none" else []
    steps += ["the largest wins" if layer["activation"] == "the largest" else f"a = {layer['activation']}(z)"] + [
        "+ inputs"
    ] * layer["residual"]
    units = f"{layer['units']} unit{'s' * (layer['units'] > 1)}"
    console.print(f"[bold]layer {layer['layer']}[/]  {layer['inputs']} inputs, {units}{shown_note}; {', '.join(steps)}")
    for unit in layer["top_units"]:
        terms = [_format_term(contribution) for contribution in unit["contributions"]]
        remainder = unit["remainder"]
        terms += (
            [f"[dim]{remainder['count']} others {format_number(remainder['sum'])}[/]"] if remainder["count"] else []
        )
        total = f"{' + '.join(terms)} + bias {format_number(unit['bias'])} = {format_number(unit['sum'])}"
        z = f"  {escape(unit['unit'])}: z = {total}"
        normal = f", normalized {format_number(unit['normalized'])}" if layer["normalization"] != "none" else ""
        console.print(f"{z}{normal}  [bold]a = {format_number(unit['output'])}[/]")


def _format_term(contribution: dict[str, Any]) -> str:
    """An input times its weight; or what a column's inputs come to together."""
    name = escape(contribution["input"])
    if "weight" in contribution:
        return f"{name} {format_number(contribution['value'])} x {format_number(contribution['weight'])}"
    return f"({name} gives {format_number(contribution['product'])})"


def _print_gradients(console: Console, trace: dict[str, Any]) -> None:
    loss = trace["loss"]
    target = ", ".join(format_number(t) for t in loss["target"])
    console.print(f"[bold]backward[/]  {loss['name']} loss {format_number(loss['value'])} for the target {target}")
    for layer in reversed(trace["layers"]):
        console.print(f"[bold]layer {layer['layer']}[/]  d = dLoss/dz; dLoss/dw = input x d, dLoss/dbias = d")
        for unit in layer["top_units"]:
            parts = [f"{escape(g['input'])} {format_number(g['value'])}" for g in unit["gradients"] if g["value"]]
            parts += ["[dim]rest 0[/]"] if len(parts) < len(unit["gradients"]) else []
            console.print(f"  {escape(unit['unit'])}: d = {format_number(unit['delta'])}; dLoss/dw: {', '.join(parts)}")


def print_perceptron_step(console: Console, step: Step, inputs: Sequence[str], classes: Sequence[str]) -> None:
    """A row that a perceptron met: its sums, its answer, and what it learns from that."""
    cells = ", ".join(f"{escape(name)} {format_number(value)}" for name, value in _first_items(inputs, step.x))
    console.print(f"[bold]row {step.row}[/]  {cells}", markup=True)
    if len(step.sums) == 1:
        terms = [
            f"{format_number(x)} x {format_number(w)}"
            for _, (x, w) in _first_items(inputs, zip(step.x, step.weights_before[:-1, 0], strict=True))
        ]
        ellipsis = " + ..." if len(step.x) > len(terms) else ""
        console.print(
            f"  z = {' + '.join(terms)}{ellipsis} + bias "
            f"{format_number(step.weights_before[-1, 0])} = {format_number(step.sums[0])}"
        )
    else:
        console.print(
            "  z = " + ", ".join(f"{escape(c)} {format_number(z)}" for c, z in zip(classes, step.sums, strict=True))
        )
    predicted, expected = escape(classes[step.predicted]), escape(classes[step.target])
    if not step.updated:
        console.print(f"  says {predicted}, as it should: nothing changes")
        return
    verdict = (
        f"[red]says {predicted}, but it is {expected}[/]" if step.is_mistake else f"says {predicted}, as it should"
    )
    change = step.weights_after - step.weights_before
    weight_changes = [
        f"w({escape(name)}) {format_number(w)} to {format_number(v)}"
        for name, w, v in zip(inputs, step.weights_before[:-1, 0], step.weights_after[:-1, 0], strict=True)
        if w != v
    ]
    if len(step.sums) > 1:
        weight_changes = [
            f"{'towards' if c > 0 else 'away from'} this row: {escape(k)}"
            for k, c in zip(classes, change[-1], strict=True)
            if c
        ]
    else:
        weight_changes = [
            *weight_changes[:8],
            f"bias {format_number(step.weights_before[-1, 0])} to {format_number(step.weights_after[-1, 0])}",
        ]
    console.print(f"  {verdict}: {'; '.join(weight_changes)}")


def ascii_decision_boundary(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> str:
    """Rows x (n, 2) in the plane, o for the first class and x for the second, and where a unit (3,) says the second."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, (high - low) * 0.15, 1)
    low, high = low - margin, high + margin
    columns, rows = np.linspace(low[0], high[0], PLOT_WIDTH), np.linspace(high[1], low[1], PLOT_HEIGHT)
    is_second = columns[None, :] * weights[0] + rows[:, None] * weights[1] + weights[2] > 0
    cells = np.where(is_second, "+", ".")
    for point, t in zip(x, y, strict=True):
        position = ((point - low) / (high - low) * [PLOT_WIDTH - 1, PLOT_HEIGHT - 1]).round().astype(int)
        cells[PLOT_HEIGHT - 1 - position[1], position[0]] = "X" if t else "O"
    return "\n".join("    " + "".join(line) for line in cells)


def format_number(value: float) -> str:
    """A number in four digits, without the sign of 0."""
    return f"{float(value) + 0.0:.4g}"


def _input_suffix(name: str, column: str) -> str:
    """An input's name without the column's, which stands before it."""
    suffix = name.removeprefix(column).strip()
    return f"{suffix}: " if suffix else ""


def _first_items(names: Sequence[str], values: Any, max_items: int = 8) -> list[tuple[str, Any]]:
    return list(zip(names, values, strict=True))[:max_items]


def _format_predictions(predictions: dict[str, float]) -> str:
    return ", ".join(f"{name} {format_number(value)}" for name, value in predictions.items())


def print_attribution(explanation: Any, row: int) -> None:
    """The answer for a row, and the pixels, steps or tokens that mattered most."""
    console = Console(highlight=False, soft_wrap=True)
    predictions = list(explanation.predictions.items())[:MAX_ITEMS]
    console.print(f"row {row}: {explanation.answer}", markup=False)
    console.print("  " + ", ".join(f"{name} {value:.3g}" for name, value in predictions), markup=False)
    for attribution in explanation.attributions:
        max_value = abs(attribution.values).max(initial=0) or 1.0
        if attribution.kind == "image":
            console.print(f"{attribution.column}: where it looked (# for, - against)", markup=False)
            console.print(_ascii_heatmap(attribution.values / max_value), markup=False)
            continue
        ranked = sorted(range(len(attribution.values)), key=lambda k: -abs(attribution.values[k]))[:MAX_ITEMS]
        names = [repr(attribution.tokens[k]) if attribution.tokens else f"step {k + 1}" for k in ranked]
        for name, k in zip(names, ranked, strict=True):
            fraction = attribution.values[k] / max_value
            console.print(f"  {name:>12} {fraction:+.2f} {'#' * round(20 * abs(fraction))}", markup=False)


def _ascii_heatmap(values: Any) -> str:
    """An image of signs, one for a block of pixels."""
    height, width = min(values.shape[0], 16), min(values.shape[1], 32)
    rows = [part.mean(axis=0) for part in np.array_split(values, height)]
    blocks = np.array([[part.mean() for part in np.array_split(row, width)] for row in rows])
    blocks = blocks / (abs(blocks).max() or 1.0)
    signs = np.where(
        blocks > STRONG_FRACTION,
        "#",
        np.where(blocks > WEAK_FRACTION, "+", np.where(blocks < -WEAK_FRACTION, "-", ".")),
    )
    return "\n".join("  " + "".join(line) for line in signs)
