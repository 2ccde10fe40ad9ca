"""Tests of the page in Chromium."""

from __future__ import annotations

import pytest

from tests.dashboard.conftest import MARKUP
from tests.serving.browser import Page

pytestmark = pytest.mark.browser
N_ROWS = "document.querySelectorAll('.row:not(.head)').length"


def open_runs(page: Page, address: str, query: str = "") -> None:
    page.open("about:blank")
    page.open(f"{address}#/runs?{query}")
    page.wait_for(f"{N_ROWS} && !document.querySelector('.grid').innerText.includes('…')")


def test_the_grid_shows_a_window_of_the_runs_and_the_columns_that_differ(page: Page, address: str):
    open_runs(page, address)
    page.wait_for("document.querySelector('.grid').getAttribute('aria-colcount') === '9'")
    page.evaluate("document.querySelector('.grid').scrollLeft = 10000")
    page.wait_for("document.querySelector('.head').innerText.includes('activation')")
    assert "optimizer" not in page.evaluate("document.querySelector('.head').innerText")
    assert page.evaluate("document.querySelector('.grid').getAttribute('aria-rowcount')") == "301"
    assert page.evaluate(N_ROWS) < 100
    assert not page.errors


def test_an_address_with_filter_order_and_columns_shows_the_same_again(page: Page, address: str):
    open_runs(page, address, "where=name+in+('run-5','run-6')&sort=started&order=ascending&columns=name")
    assert page.evaluate("[...document.querySelectorAll('[role=gridcell]')].map(cell => cell.innerText)") == [
        "run-5", "run-6",
    ]  # fmt: skip


def test_rows_are_selected_by_keyboard(page: Page, address: str):
    open_runs(page, address)
    for key in ("ArrowDown", " "):
        event = f"new KeyboardEvent('keydown', {{key: '{key}'}})"
        page.evaluate(f"document.querySelector('.grid').dispatchEvent({event})")
        page.evaluate("new Promise(requestAnimationFrame)")
    page.wait_for("document.querySelector('[aria-rowindex=\"3\"]').getAttribute('aria-selected') === 'true'")


def test_markup_in_names_of_runs_is_text(page: Page, address: str):
    open_runs(page, address, "sort=started&order=ascending&columns=name")
    assert MARKUP in page.evaluate("document.querySelector('.grid').innerText")
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_a_filter_that_cannot_be_parsed_is_explained(page: Page, address: str):
    page.open("about:blank")
    page.open(f"{address}#/runs?where=nonsense")
    page.wait_for("document.querySelector('[role=alert]')?.innerText.includes('Expected a field')")
