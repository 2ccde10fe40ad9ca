"""In: a walk of a row through a network, or a perceptron's steps. Out: both told on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from rosenblatt.inspection.perceptron_steps import Step

WIDTH, HEIGHT = 41, 15  # characters of a drawing of the plane
MOST_SAID = 10  # answers, tokens or steps that are told
STRONG, WEAK = 0.4, 0.15  # shares of the largest, from which on a part of an image is marked


def tell_walk(told: dict[str, Any], backward: bool) -> None:
    """A walk as `explaining.described` gives it: cells, inputs, then layer by layer, and back."""
    console = Console(highlight=False, soft_wrap=True)
    some = f", network {told['network']} of {told['networks']}" if told["networks"] > 1 else ""
    console.print(f"[bold]row {told['row']}{some}[/]")
    for name, cell in told["cells"].items():
        made = [i for i in told["inputs"] if i["column"] == name]
        inputs = ", ".join(f"{_short(i['input'], name)}{number(i['value'])}" for i in made[:6]) or "all 0"
        more = f" and {len(made) - 6} more" if len(made) > 6 else ""
        console.print(f"  {escape(str(name))} = {escape(str(cell))}  [dim]enters as {escape(inputs)}{more}[/]")
    for layer in told["layers"]:
        _tell_layer(console, layer)
    console.print(f"[bold]predicted[/]  {escape(_answers(told['predicted']))}")
    if told["networks"] > 1:
        console.print(
            f"  [dim]the model, the mean of {told['networks']} networks: {escape(_answers(told['model']))}[/]"
        )
    if backward:
        _tell_back(console, told)


def _tell_layer(console: Console, layer: dict[str, Any]) -> None:
    shown = len(layer["shown"])
    some = f", the {shown} largest" if shown < layer["units"] else ""
    steps = ["z = inputs x weights + bias"]
    steps += [f"{layer['normalization']} normalization"] if layer["normalization"] != "none" else []
    steps += ["the largest wins" if layer["activation"] == "the largest" else f"a = {layer['activation']}(z)"] + [
        "+ inputs"
    ] * layer["residual"]
    units = f"{layer['units']} unit{'s' * (layer['units'] > 1)}"
    console.print(f"[bold]layer {layer['layer']}[/]  {layer['inputs']} inputs, {units}{some}; {', '.join(steps)}")
    for unit in layer["shown"]:
        terms = [_term(contribution) for contribution in unit["contributions"]]
        others = unit["others"]
        terms += [f"[dim]{others['count']} others {number(others['sum'])}[/]"] if others["count"] else []
        z = f"  {escape(unit['unit'])}: z = {' + '.join(terms)} + bias {number(unit['bias'])} = {number(unit['sum'])}"
        normal = f", normalized {number(unit['normalized'])}" if layer["normalization"] != "none" else ""
        console.print(f"{z}{normal}  [bold]a = {number(unit['output'])}[/]")


def _term(contribution: dict[str, Any]) -> str:
    """An input times its weight; or what a column's inputs come to together."""
    name = escape(contribution["input"])
    if "weight" in contribution:
        return f"{name} {number(contribution['value'])} x {number(contribution['weight'])}"
    return f"({name} gives {number(contribution['product'])})"


def _tell_back(console: Console, told: dict[str, Any]) -> None:
    loss = told["loss"]
    target = ", ".join(number(t) for t in loss["target"])
    console.print(f"[bold]backward[/]  {loss['name']} loss {number(loss['value'])} for the target {target}")
    for layer in reversed(told["layers"]):
        console.print(f"[bold]layer {layer['layer']}[/]  d = dLoss/dz; dLoss/dw = input x d, dLoss/dbias = d")
        for unit in layer["shown"]:
            parts = [f"{escape(g['weight_of'])} {number(g['value'])}" for g in unit["gradients"] if g["value"]]
            parts += ["[dim]rest 0[/]"] if len(parts) < len(unit["gradients"]) else []
            console.print(f"  {escape(unit['unit'])}: d = {number(unit['delta'])}; dLoss/dw: {', '.join(parts)}")


def tell_step(console: Console, step: Step, inputs: Sequence[str], classes: Sequence[str]) -> None:
    """A row that a perceptron met: its sums, its answer, and what it learns from that."""
    cells = ", ".join(f"{escape(name)} {number(value)}" for name, value in _some(inputs, step.x))
    console.print(f"[bold]row {step.row}[/]  {cells}", markup=True)
    if len(step.sums) == 1:
        terms = [
            f"{number(x)} x {number(w)}" for _, (x, w) in _some(inputs, zip(step.x, step.before[:-1, 0], strict=True))
        ]
        rest = " + ..." if len(step.x) > len(terms) else ""
        console.print(f"  z = {' + '.join(terms)}{rest} + bias {number(step.before[-1, 0])} = {number(step.sums[0])}")
    else:
        console.print("  z = " + ", ".join(f"{escape(c)} {number(z)}" for c, z in zip(classes, step.sums, strict=True)))
    said, right = escape(classes[step.answer]), escape(classes[step.truth])
    if not step.moved:
        console.print(f"  says {said}, as it should: nothing changes")
        return
    verdict = f"[red]says {said}, but it is {right}[/]" if step.mistaken else f"says {said}, as it should"
    change = step.after - step.before
    moved = [
        f"w({escape(name)}) {number(w)} to {number(v)}"
        for name, w, v in zip(inputs, step.before[:-1, 0], step.after[:-1, 0], strict=True)
        if w != v
    ]
    if len(step.sums) > 1:
        moved = [
            f"{'towards' if c > 0 else 'away from'} this row: {escape(k)}"
            for k, c in zip(classes, change[-1], strict=True)
            if c
        ]
    else:
        moved = [*moved[:8], f"bias {number(step.before[-1, 0])} to {number(step.after[-1, 0])}"]
    console.print(f"  {verdict}: {'; '.join(moved)}")


def plane(x: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> str:
    """Rows x (n, 2) in the plane, o for the first class and x for the second, and where a unit (3,) says the second."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, (high - low) * 0.15, 1)
    low, high = low - margin, high + margin
    columns, rows = np.linspace(low[0], high[0], WIDTH), np.linspace(high[1], low[1], HEIGHT)
    second = columns[None, :] * weights[0] + rows[:, None] * weights[1] + weights[2] > 0
    cells = np.where(second, "+", ".")
    for point, t in zip(x, truth, strict=True):
        place = ((point - low) / (high - low) * [WIDTH - 1, HEIGHT - 1]).round().astype(int)
        cells[HEIGHT - 1 - place[1], place[0]] = "X" if t else "O"
    return "\n".join("    " + "".join(line) for line in cells)


def number(value: float) -> str:
    """A number in four digits, without the sign of 0."""
    return f"{float(value) + 0.0:.4g}"


def _short(name: str, column: str) -> str:
    """An input's name without the column's, which stands before it."""
    rest = name.removeprefix(column).strip()
    return f"{rest}: " if rest else ""


def _some(names: Sequence[str], values: Any, most: int = 8) -> list[tuple[str, Any]]:
    return list(zip(names, values, strict=True))[:most]


def _answers(answers: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in answers.items())


def tell_heed(explained: Any, row: int) -> None:
    """The answer for a row, and the pixels, steps or tokens that mattered most."""
    console = Console(highlight=False, soft_wrap=True)
    said = list(explained.said.items())[:MOST_SAID]
    console.print(f"row {row}: {explained.answer}", markup=False)
    console.print("  " + ", ".join(f"{name} {value:.3g}" for name, value in said), markup=False)
    for heed in explained.heeds:
        most = abs(heed.values).max(initial=0) or 1.0
        if heed.kind == "image":
            console.print(f"{heed.column}: where it looked (# for, - against)", markup=False)
            console.print(_map(heed.values / most), markup=False)
            continue
        ranked = sorted(range(len(heed.values)), key=lambda k: -abs(heed.values[k]))[:MOST_SAID]
        names = [repr(heed.tokens[k]) if heed.tokens else f"step {k + 1}" for k in ranked]
        for name, k in zip(names, ranked, strict=True):
            share = heed.values[k] / most
            console.print(f"  {name:>12} {share:+.2f} {'#' * round(20 * abs(share))}", markup=False)


def _map(values: Any) -> str:
    """An image of signs, one for a block of pixels."""
    high, wide = min(values.shape[0], 16), min(values.shape[1], 32)
    rows = [part.mean(axis=0) for part in np.array_split(values, high)]
    blocks = np.array([[part.mean() for part in np.array_split(row, wide)] for row in rows])
    blocks = blocks / (abs(blocks).max() or 1.0)
    signs = np.where(blocks > STRONG, "#", np.where(blocks > WEAK, "+", np.where(blocks < -WEAK, "-", ".")))
    return "\n".join("  " + "".join(line) for line in signs)
