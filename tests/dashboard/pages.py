"""The dashboard in Chromium, on a store of runs that were really recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import matplotlib.pyplot as plt

import rosenblatt
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.spec.dimensions import uniform
from tests.serving.browser import Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
MARKUP = "<b>bold</b>"


@contextmanager
def record_runs(folder: Path) -> Iterator[Store]:
    """A store with a search of 10 trials, and 4 runs with curves of 300 points, of which one is NaN, and a picture."""
    place = str(folder / "store")
    for seed in range(4):
        activation = "relu" if seed % 2 else "tanh"
        with track("curves", params={"activation": activation, "seed": seed}, name=f"run-{seed}", store=place) as run:
            for step in range(300):
                run.log(
                    {"loss": math.nan if step == 7 else math.exp(-step / (50 + seed)), "accuracy": step / 300},
                    step=step,
                )
            run.note("remark", MARKUP)
            figure, axes = plt.subplots()
            axes.plot([1, 2])
            run.log_figure("picture", figure)
            plt.close(figure)
    rosenblatt.tune(
        lambda params, run: run.log({"score": -((params["x"] - 1) ** 2)}), {"x": uniform(0.0, 2.0)}, trials=10,
        metric="score", experiment="search", store=place,
    )  # fmt: skip
    with closing(Store(f"sqlite:///{folder / 'store' / 'runs.db'}")) as store:
        yield store


def open_page_at(page: Page, address: str, condition: str) -> None:
    """Open an address in a fresh page, and wait for a condition."""
    page.open("about:blank")
    page.open(address)
    page.wait_for(condition)


def find_violations(page: Page) -> list[str]:
    """Serious violations of accessibility rules, found by axe-core."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations"
        ".filter(({impact}) => impact === 'serious' || impact === 'critical')"
        ".map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html).slice(0, 3).join(' | ')}`))"
    )
    return list(found)
