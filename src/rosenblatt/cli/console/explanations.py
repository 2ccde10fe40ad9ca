"""Print the trace of a row through a network, attributions, and the training steps of a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from rosenblatt.cli.console.tables import SafeConsole
from rosenblatt.inspection.perceptron_steps import Step

if TYPE_CHECKING:
    from rosenblatt.inspection.torch_attribution import Explanation

PLOT_WIDTH, PLOT_HEIGHT = 41, 15  # characters of a plot of the decision boundary
MAX_ITEMS = 10  # predictions, tokens or steps of a sequence that are printed
MAX_INPUTS = 8  # inputs of a perceptron that are printed
MAX_CELL_INPUTS = 6  # inputs that are printed for a column
STRONG_FRACTION, WEAK_FRACTION = 0.4, 0.15  # fractions of the largest attribution from which blocks get # or +


def print_trace(trace: dict[str, Any], backward: bool) -> None:
    """Print what `walkthrough.trace_to_dict` returns: cells, inputs, each layer, and the gradients."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    network_note = f", network {trace['network']} of {trace['networks']}" if trace["networks"] > 1 else ""
    console.print(f"[bold]row {trace['row']}{network_note}[/]")
    for name, cell in trace["cells"].items():
        cell_inputs = [i for i in trace["inputs"] if i["column"] == name]
        inputs = (
            ", ".join(
                f"{_input_suffix(i['input'], name)}{format_number(i['value'])}" for i in cell_inputs[:MAX_CELL_INPUTS]
            )
            or "all 0"
        )
        overflow_note = f" and {len(cell_inputs) - MAX_CELL_INPUTS} more" if len(cell_inputs) > MAX_CELL_INPUTS else ""
        cell_text = "missing" if cell is None else str(cell)
        console.print(
            f"  {escape(str(name))} = {escape(cell_text)}  [dim]encoded as {escape(inputs)}{overflow_note}[/]"
        )
    for layer in trace["layers"]:
        _print_layer(console, layer)
    console.print(f"[bold]predicted[/]  {escape(_format_predictions(trace['predicted']))}")
    if trace["networks"] > 1:
        console.print(
            f"  [dim]model, mean of {trace['networks']} networks: {escape(_format_predictions(trace['model']))}[/]"
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
    """An input times its weight, or the sum of these products over all inputs of a column."""
    name = escape(contribution["input"])
    if "weight" in contribution:
        return f"{name} {format_number(contribution['value'])} x {format_number(contribution['weight'])}"
    return f"({name}: {format_number(contribution['product'])})"


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
    """Print a training step of a perceptron: its row, its weighted sums, its prediction and its update."""
    values = list(zip(inputs, step.x, strict=True))[:MAX_INPUTS]
    cells = ", ".join(f"{escape(name)} {format_number(value)}" for name, value in values)
    console.print(f"[bold]row {step.row}[/]  {cells}")
    console.print(f"  z = {_format_sums(step, classes)}")
    predicted, expected = escape(classes[step.predicted]), escape(classes[step.target])
    if not step.updated:
        console.print(f"  predicts {predicted}, which is right: no update")
        return
    verdict = f"predicts {predicted}, which is right"
    if step.is_mistake:
        verdict = f"[red]predicts {predicted}, but the class is {expected}[/]"
    console.print(f"  {verdict}: {'; '.join(_format_updates(step, inputs, classes))}")


def _format_sums(step: Step, classes: Sequence[str]) -> str:
    """The weighted sum of a single unit with its first terms, or the sums of the units of all classes."""
    if len(step.sums) > 1:
        return ", ".join(f"{escape(c)} {format_number(z)}" for c, z in zip(classes, step.sums, strict=True))
    products = list(zip(step.x, step.weights_before[:-1, 0], strict=True))
    terms = [f"{format_number(x)} x {format_number(w)}" for x, w in products[:MAX_INPUTS]]
    terms += ["..."] * (len(products) > MAX_INPUTS)
    bias = f"bias {format_number(step.weights_before[-1, 0])}"
    return f"{' + '.join([*terms, bias])} = {format_number(step.sums[0])}"


def _format_updates(step: Step, inputs: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The changed weights and the bias of a single unit, or the direction in which each changed unit moves."""
    if len(step.sums) > 1:
        change = (step.weights_after - step.weights_before)[-1]
        return [
            f"{'towards' if delta > 0 else 'away from'} this row: {escape(name)}"
            for name, delta in zip(classes, change, strict=True)
            if delta
        ]
    before, after = step.weights_before[:, 0], step.weights_after[:, 0]
    weights = [
        f"w({escape(name)}) {format_number(old)} to {format_number(new)}"
        for name, old, new in zip(inputs, before[:-1], after[:-1], strict=True)
        if old != new
    ]
    return [*weights[:MAX_INPUTS], f"bias {format_number(before[-1])} to {format_number(after[-1])}"]


def ascii_decision_boundary(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> str:
    """Plot rows x (n, 2) as O and X by their class y (n,), and as + where a unit with weights (3,) predicts class 1."""
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
    """Format a number with four significant digits, without a sign for 0."""
    return f"{float(value) + 0.0:.4g}"


def _input_suffix(name: str, column: str) -> str:
    """The name of an input without that of its column, which is printed before it."""
    suffix = name.removeprefix(column).strip()
    return f"{suffix}: " if suffix else ""


def _format_predictions(predictions: dict[str, float]) -> str:
    return ", ".join(f"{name} {format_number(value)}" for name, value in predictions.items())


def print_attribution(explanation: Explanation, row: int) -> None:
    """Print the prediction for a row, and the pixels, steps or tokens with the largest attributions."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    predictions = list(explanation.predictions.items())[:MAX_ITEMS]
    console.print(f"row {row}: {explanation.answer}", markup=False)
    console.print("  " + ", ".join(f"{name} {value:.3g}" for name, value in predictions), markup=False)
    for attribution in explanation.attributions:
        max_value = abs(attribution.values).max(initial=0) or 1.0
        if attribution.kind == "image":
            console.print(f"{attribution.column}: attribution (# supports the prediction, - opposes it)", markup=False)
            console.print(_ascii_heatmap(attribution.values / max_value), markup=False)
            continue
        ranked = sorted(range(len(attribution.values)), key=lambda k: -abs(attribution.values[k]))[:MAX_ITEMS]
        names = [repr(attribution.tokens[k]) if attribution.tokens else f"step {k + 1}" for k in ranked]
        for name, k in zip(names, ranked, strict=True):
            fraction = attribution.values[k] / max_value
            console.print(f"  {name:>12} {fraction:+.2f} {'#' * round(20 * abs(fraction))}", markup=False)


def _ascii_heatmap(values: np.ndarray) -> str:
    """Plot an attribution (H, W) with a character for each block of pixels."""
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
