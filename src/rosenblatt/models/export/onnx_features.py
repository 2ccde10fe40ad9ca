"""Nodes of an ONNX graph that encode numbers, categories, images and sequences as a model does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rosenblatt.models.export.feature_plan import MIN_FRACTION, SMOOTH_LIMIT, FeaturePlan
from rosenblatt.models.export.onnx_graph import DOUBLE, FLOAT, ML_DOMAIN, Graph, axes, float32, float64, integer
from rosenblatt.models.export.signature import CategoryInput

# Normal quantile, algorithm AS 241, PPND16 (Wichura 1988): ratios of polynomials, lowest coefficients first. The third
# interval is left out: fractions are at least `MIN_FRACTION`.
CENTRAL_LIMIT = 0.425  # distance of a fraction from 1/2 up to which the central interval reaches
CENTRAL_OFFSET = 0.180625
TAIL_OFFSET = 1.6
CENTRAL_RATIO = np.array([
    [3.3871328727963666080e0, 1.0],
    [1.3314166789178437745e2, 4.2313330701600911252e1],
    [1.9715909503065514427e3, 6.8718700749205790830e2],
    [1.3731693765509461125e4, 5.3941960214247511077e3],
    [4.5921953931549871457e4, 2.1213794301586595867e4],
    [6.7265770927008700853e4, 3.9307895800092710610e4],
    [3.3430575583588128105e4, 2.8729085735721942674e4],
    [2.5090809287301226727e3, 5.2264952788528545610e3],
])  # fmt: skip
TAIL_RATIO = np.array([
    [1.42343711074968357734e0, 1.0],
    [4.63033784615654529590e0, 2.05319162663775882187e0],
    [5.76949722146069140550e0, 1.67638483018380384940e0],
    [3.64784832476320460504e0, 6.89767334985100004550e-1],
    [1.27045825245236838258e0, 1.48103976427480074590e-1],
    [2.41780725177450611770e-1, 1.51986665636164571966e-2],
    [2.27238449892691845833e-2, 5.47593808499534494600e-4],
    [7.74545014278341407640e-4, 1.05075007164441684324e-9],
])  # fmt: skip


def category_codes(graph: Graph, columns: Sequence[CategoryInput], categories: str) -> list[str]:
    """The codes (n,) int64 of each column of `categories` (n, C) strings; see `CategoryInput.codes`."""
    codes = []
    for k, column in enumerate(columns):
        scope, n = graph.within(f"categories.{k}"), len(column.categories)
        cells = scope.add("Gather", categories, integer(k), name="cells", axis=1)
        codes.append(
            scope.add(
                "LabelEncoder", cells, name="codes", domain=ML_DOMAIN, keys_strings=[*column.categories, ""],
                values_int64s=[*range(n), n], default_int64=n + 1,
            )
        )  # fmt: skip
    return codes


def features(graph: Graph, plan: FeaturePlan, numbers: str, codes: Sequence[str]) -> str:
    """The features (n, F) float32 of numbers (n, N) float64 and of the codes of categories; see `FeaturePlan`."""
    graph = graph.within("features")
    if plan.is_identity:
        return graph.cast(numbers, FLOAT, "numbers")
    blocks = _number_blocks(graph, plan, numbers) if plan.fill.size else []
    for k, (table, code) in enumerate(zip(plan.category_tables, codes, strict=True)):
        if table.shape[1]:
            blocks.append(
                graph.add("Gather", graph.constant(f"categories.{k}.table", table), code, name=f"one_hot_{k}")
            )
    x = graph.add("Concat", *blocks, name="blocks", axis=1) if len(blocks) > 1 else blocks[0]
    return _columns(graph, x, plan.order, plan.n_features, "order")


def _columns(graph: Graph, x: str, columns: np.ndarray, n: int, name: str) -> str:
    """These of the n columns of x."""
    if np.array_equal(columns, np.arange(n)):
        return x
    return graph.add("Gather", x, columns, name=name, axis=1)


def _number_blocks(graph: Graph, plan: FeaturePlan, numbers: str) -> list[str]:
    n, blocks = plan.fill.size, list[str]()
    is_missing = graph.add("IsNaN", numbers, name="is_missing")
    x = graph.add("Where", is_missing, plan.fill, numbers, name="filled")
    if plan.scaled_columns.size:
        blocks.append(_scaled(graph, plan, _columns(graph, x, plan.scaled_columns, n, "scaled_columns")))
    if plan.quantile_columns:
        blocks.append(_normal_scores(graph.within("quantiles"), plan, x))
    if plan.part_columns.size:
        parts = graph.add(
            "Sub", _columns(graph, x, plan.part_columns, n, "part_columns"), plan.part_start, name="parts"
        )
        parts = graph.add("Div", parts, plan.part_width, name="part_fractions")
        parts = graph.add("Max", parts, plan.part_min, name="part_min")
        blocks.append(graph.add("Min", parts, plan.part_max, name="part_max"))
    joined = graph.add("Concat", *blocks, name="numbers", axis=1) if len(blocks) > 1 else blocks[0]
    blocks = [graph.cast(joined, FLOAT, "float_numbers")]
    if plan.missing_columns.size:
        missing = _columns(graph, is_missing, plan.missing_columns, n, "missing_columns")
        blocks.append(graph.cast(missing, FLOAT, "missing"))
    return blocks


def _scaled(graph: Graph, plan: FeaturePlan, x: str) -> str:
    z = graph.add("Mul", graph.add("Sub", x, plan.center, name="centered"), plan.factor, name="scaled")
    if not plan.smooth_clip.any():
        return z
    ratio = graph.add("Div", z, float64(SMOOTH_LIMIT), name="clip.ratio")
    square = graph.add("Add", graph.add("Mul", ratio, ratio, name="clip.square"), float64(1), name="clip.sum")
    clipped = graph.add("Div", z, graph.add("Sqrt", square, name="clip.root"), name="clip")
    return clipped if plan.smooth_clip.all() else graph.add("Where", plan.smooth_clip, clipped, z, name="clip_some")


def _normal_scores(graph: Graph, plan: FeaturePlan, x: str) -> str:
    """The normal quantiles (n, C) of the fractions of training values below numbers; see `QuantileColumn`."""
    columns = plan.quantile_columns
    x = _columns(graph, x, np.array([column.column for column in columns]), plan.fill.size, "columns")
    sizes = np.array([column.quantiles.size for column in columns], np.int64)
    n_steps, last = int(sizes.max()).bit_length(), sizes - 1
    table = np.full((len(columns), 2**n_steps), np.nan)  # all comparisons with the padding are false
    for row, column in zip(table, columns, strict=True):
        row[: column.quantiles.size] = column.quantiles
    starts = np.arange(len(columns), dtype=np.int64) * table.shape[1]
    flat = graph.constant("table", table.ravel())
    left, right = (_count_below(graph, flat, x, starts, n_steps, operator) for operator in ("Less", "LessOrEqual"))

    def value(positions: str, name: str) -> str:
        limited = graph.add(
            "Min", graph.add("Max", positions, integer(0), name=f"{name}.min"), last, name=f"{name}.max"
        )
        return graph.add("Gather", flat, graph.add("Add", limited, starts, name=f"{name}.index"), name=name)

    before = graph.add("Sub", left, integer(1), name="before")
    lower, upper = value(before, "lower"), value(left, "upper")
    width = graph.add("Sub", upper, lower, name="width")
    is_wide = graph.add("Greater", width, float64(0), name="is_wide")
    part = graph.add("Sub", x, lower, name="above_lower")
    part = graph.add("Div", part, graph.add("Where", is_wide, width, float64(1), name="divisor"), name="part")
    between = graph.add("Add", graph.cast(before, DOUBLE, "before_float"), part, name="between")
    middle = graph.cast(graph.add("Add", before, right, name="tied"), DOUBLE, "tied_float")
    middle = graph.add("Mul", middle, float64(0.5), name="middle")
    is_tied = graph.add("Greater", right, left, name="is_tied")
    position = graph.add("Where", is_tied, middle, between, name="position")
    fraction = graph.add("Div", position, last.astype(np.float64), name="fraction")
    fraction = graph.add("Clip", fraction, float64(MIN_FRACTION), float64(1 - MIN_FRACTION), name="clipped_fraction")
    return _normal_quantile(graph.within("normal"), fraction)


def _count_below(graph: Graph, flat: str, x: str, starts: np.ndarray, n_steps: int, operator: str) -> str:
    """The number of sorted values below (or at most) x (n, C), by bisection in a table (C, 2^n_steps) as one row."""
    graph = graph.within(operator.lower())
    first = graph.constant("start", starts - 1)
    position = first
    for step in reversed(range(n_steps)):
        candidate = graph.add("Add", position, integer(2**step), name=f"candidate_{step}")
        values = graph.add("Gather", flat, candidate, name=f"values_{step}")
        is_below = graph.add(operator, values, x, name=f"is_below_{step}")
        position = graph.add("Where", is_below, candidate, position, name=f"position_{step}")
    return graph.add("Sub", position, first, name="count")


def _normal_quantile(graph: Graph, fraction: str) -> str:
    q = graph.add("Sub", fraction, float64(0.5), name="distance")
    r = graph.add("Sub", float64(CENTRAL_OFFSET), graph.add("Mul", q, q, name="square"), name="central.argument")
    central = graph.add("Mul", q, _ratio(graph.within("central"), r, CENTRAL_RATIO), name="central")
    smaller = graph.add("Min", fraction, graph.add("Sub", float64(1), fraction, name="above"), name="smaller")
    root = graph.add("Sqrt", graph.add("Neg", graph.add("Log", smaller, name="log"), name="minus_log"), name="root")
    r = graph.add("Sub", root, float64(TAIL_OFFSET), name="tail.argument")
    tail = _ratio(graph.within("tail"), r, TAIL_RATIO)
    tail = graph.add("Mul", graph.add("Sign", q, name="sign"), tail, name="tail")
    distance = graph.add("Abs", q, name="absolute")
    is_central = graph.add("LessOrEqual", distance, float64(CENTRAL_LIMIT), name="is_central")
    return graph.add("Where", is_central, central, tail, name="quantile")


def _ratio(graph: Graph, r: str, coefficients: np.ndarray) -> str:
    """The ratio of two polynomials of r (n, C), whose coefficients are the columns."""
    powers = np.arange(len(coefficients), dtype=np.float64)
    terms = graph.add("Pow", graph.add("Unsqueeze", r, axes(-1), name="unsqueezed"), powers, name="powers")
    sums = graph.add("MatMul", terms, coefficients, name="polynomials")
    numerator, denominator = (
        graph.add("Gather", sums, integer(k), name=name, axis=-1) for k, name in enumerate(("numerator", "denominator"))
    )
    return graph.add("Div", numerator, denominator, name="ratio")


def standardized_image(graph: Graph, encoding: Any, pixels: str) -> str:
    """Pixels (n, C, H, W) with the mean of each channel subtracted, divided by its standard deviation."""
    center = np.asarray(encoding.center, np.float32)[:, None, None]
    factor = (1 / np.asarray(encoding.scale)).astype(np.float32)[:, None, None]
    return graph.add("Mul", graph.add("Sub", pixels, center, name="centered"), factor, name="standardized")


def step_mask(graph: Graph, steps: str, lengths: str) -> str:
    """Whether each step (n, T) of `steps` (n, T, ...) is within the length of its row."""
    n_steps = graph.add("Gather", graph.add("Shape", steps, name="shape"), integer(1), name="n_steps")
    numbers = graph.add("Range", integer(0), n_steps, integer(1), name="step_numbers")
    return graph.add("Less", numbers, graph.add("Unsqueeze", lengths, axes(1), name="row_lengths"), name="mask")


def standardized_steps(graph: Graph, encoding: Any, steps: str, lengths: str) -> str:
    """Steps (n, T, C), standardized by channel; missing numbers, and the padding, become 0."""
    center, factor = np.asarray(encoding.center, np.float32), (1 / np.asarray(encoding.scale)).astype(np.float32)
    z = graph.add("Mul", graph.add("Sub", steps, center, name="centered"), factor, name="scaled")
    z = graph.add("Where", graph.add("IsNaN", z, name="is_missing"), float32(0), z, name="filled")
    mask = graph.add("Unsqueeze", step_mask(graph, steps, lengths), axes(2), name="step_mask")
    return graph.add("Where", mask, z, float32(0), name="standardized")


def masked_tokens(graph: Graph, tokens: str, lengths: str) -> str:
    """Token ids (n, T), 0 in the padding."""
    return graph.add("Where", step_mask(graph, tokens, lengths), tokens, integer(0), name="masked")
