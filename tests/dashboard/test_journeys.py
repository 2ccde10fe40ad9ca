"""Tests of the pages in Chromium on runs that were really recorded: journeys and accessibility."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.store import Store
from tests.dashboard.pages import MARKUP, find_violations, open_page_at, record_runs
from tests.dashboard.servers import serve
from tests.serving.browser import Page, open_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GRID = "document.querySelector('.grid')"
HAS_CELLS = f"{GRID}?.querySelector('.row:not(.head)') && !{GRID}.innerText.includes('…')"
N_CHARTS = "document.querySelectorAll('.chart canvas').length"
TEXT = "document.querySelector('main').innerText"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Iterator[Store]:
    with record_runs(tmp_path_factory.mktemp("journeys")) as store:
        yield store


@pytest.fixture(scope="module")
def address(recorded: Store) -> Iterator[str]:
    with serve(recorded) as address:
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("browser")) as page:
        page.emulate(dark=False)
        yield page


@pytest.fixture(autouse=True)
def nothing_fails(request):
    """No page of a test may raise an error or ask another host for anything."""
    yield
    if "page" in request.fixturenames:
        page, address = request.getfixturevalue("page"), request.getfixturevalue("address")
        assert not page.errors
        assert all(url.startswith((address, "about:", "blob:", "data:")) for url in page.requests)


@pytest.fixture
def ids(recorded: Store) -> dict[str, str]:
    return {run.name or run.kind: run.id for run in find_runs(recorded, include_trials=False)}


def click(page: Page, selector: str, text: str = "") -> None:
    """Click the first element of a selector whose text begins with a text."""
    has_text = f"(node) => node.textContent.trim().startsWith({json.dumps(text)})"
    element = f"[...document.querySelectorAll({json.dumps(selector)})].find({has_text})"
    page.wait_for(element)
    page.evaluate(f"{element}.click()")


@pytest.mark.parametrize("dark", [False, True])
def test_no_page_has_serious_faults_of_accessibility(page: Page, address: str, ids: dict[str, str], dark: bool):
    page.emulate(dark=dark)
    runs = ",".join(ids[f"run-{seed}"] for seed in range(4))
    addresses = {
        "#/runs": f"{HAS_CELLS} && {GRID}.getAttribute('aria-colcount') > 7",
        "#/runs?group=params.activation&columns=name,metrics.loss": f"{TEXT}.includes('3 groups')",
        f"#/runs/{ids['run-0']}": f"{N_CHARTS} >= 2",
        f"#/runs/{ids['search']}": HAS_CELLS,
        f"#/compare?runs={runs}": f"{N_CHARTS} >= 3 && document.querySelector('.parallel')",
        "#/compare": f"{TEXT}.includes('No runs')",
        "#/nonsense": f"{TEXT}.includes('no page')",
    }
    for path, condition in addresses.items():
        open_page_at(page, address + path, condition)
        assert find_violations(page) == [], path
    page.emulate(dark=False)


def test_the_page_of_a_run_shows_what_was_recorded_as_text(page: Page, address: str, ids: dict[str, str]):
    open_page_at(page, f"{address}#/runs/{ids['run-1']}", f"{N_CHARTS} >= 2")
    text = page.evaluate(TEXT)
    assert "run-1" in text
    assert "accuracy" in text
    assert f"{1 / 300 * 299:.6g}"[:6] in text
    assert page.evaluate("document.querySelector('input[aria-label=\"note remark\"]').value") == MARKUP
    page.evaluate("document.querySelector('.pictures img').scrollIntoView()")
    page.wait_for("document.querySelector('.pictures img').naturalWidth > 0")
    assert "1 points that are NaN or infinite are gaps" in text
    assert page.evaluate(
        "[...document.querySelectorAll('#params ~ .scroll td.text')].map((cell) => cell.innerText)"
    ) == ["relu", "1"]


def test_tags_and_notes_are_edited_in_place(page: Page, address: str, recorded: Store, ids: dict[str, str]):
    run = ids["run-2"]
    open_page_at(page, f"{address}#/runs/{run}", "document.querySelector('.editable')")
    page.evaluate("""(() => {
        const form = document.querySelector('.editable form');
        form.elements.name.value = 'team'; form.elements.value.value = 'blue'; form.requestSubmit();
    })()""")
    page.wait_for("document.querySelector('input[aria-label=\"tag team\"]')")
    assert run_details(recorded, run).tags == {"team": "blue"}
    click(page, "button[aria-label='Remove the tag team']")
    page.wait_for("!document.querySelector('input[aria-label=\"tag team\"]')")
    assert run_details(recorded, run).tags == {}


def test_curves_of_runs_are_compared_zoomed_and_averaged(page: Page, address: str, ids: dict[str, str]):
    runs = ",".join(ids[f"run-{seed}"] for seed in range(4))
    open_page_at(
        page, f"{address}#/compare?runs={runs}&metrics=loss&target=loss", "document.querySelector('.chart canvas')"
    )
    page.wait_for("document.querySelectorAll('.legend li').length >= 4 && document.querySelector('.chart .u-over')")
    page.wait_for(f"{TEXT}.includes('importance needs 8')")  # by then nothing moves
    for _ in range(10):  # a change of the layout may come between press and release
        page.drag(".chart .u-over", 0.2, 0.5)
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
        if page.evaluate(
            "[...document.querySelectorAll('.chart button')].some((node) => node.innerText === 'Whole range')"
        ):
            break
    click(page, ".chart button", "Whole range")
    page.wait_for("![...document.querySelectorAll('.chart button')].some((node) => node.innerText === 'Whole range')")
    select = "document.querySelector('option[value=\"params.activation\"]').parentElement"
    page.evaluate(
        f"{select}.value = 'params.activation'; {select}.dispatchEvent(new Event('change', {{bubbles: true}}))"
    )
    page.wait_for(
        "[...document.querySelectorAll('.legend li')].some((item) => item.innerText.includes('activation = tanh'))"
    )
    assert "group=params.activation" in page.evaluate("location.hash")


def test_the_importance_of_a_search_is_that_of_its_dimension(page: Page, address: str, recorded: Store):
    trials = [run.id for run in find_runs(recorded, "kind = 'trial'")]
    open_page_at(
        page, f"{address}#/compare?runs={','.join(trials)}&target=score", "document.querySelector('table.bars')"
    )
    assert page.evaluate("document.querySelector('table.bars tbody').innerText").split()[:2] == ["x", "1"]


def test_groups_show_means_and_lead_to_their_runs(page: Page, address: str):
    open_page_at(
        page,
        f"{address}#/runs?where=experiment = 'curves'&group=params.activation&columns=name,metrics.accuracy",
        f"{TEXT}.includes('2 groups of 4 runs')",
    )
    assert "0.996667 ± 0" in page.evaluate("document.querySelector('table.groups').innerText")
    click(page, "table.groups a", "runs")
    page.wait_for(f"{HAS_CELLS} && {GRID}.getAttribute('aria-rowcount') === '3'")


def test_a_view_is_saved_and_opened_again(page: Page, address: str):
    open_page_at(page, f"{address}#/runs?where=kind = 'search'", HAS_CELLS)
    page.evaluate("document.getElementById('view-name').value = 'searches'")
    click(page, "button", "Save this view")
    open_page_at(page, f"{address}#/runs", HAS_CELLS)
    click(page, "fieldset a", "searches")
    page.wait_for(f"{GRID}.getAttribute('aria-rowcount') === '2'")


def test_runs_are_deleted_only_after_a_confirmation(page: Page, address: str, recorded: Store):
    recorded_before = len(find_runs(recorded))
    open_page_at(page, f"{address}#/runs?where=name = 'run-3'", HAS_CELLS)
    click(page, ".row:not(.head)")
    click(page, "button", "Delete")
    page.wait_for("document.querySelector('dialog[open]')?.innerText.includes('Delete 1 run?')")
    click(page, "dialog button", "Cancel")
    assert len(find_runs(recorded)) == recorded_before
    click(page, "button", "Delete")
    click(page, "dialog button", "Delete")
    page.wait_for(f"{TEXT}.includes('No run matches')")
    assert len(find_runs(recorded)) == recorded_before - 1


def test_runs_are_filtered_selected_and_opened_by_keyboard_alone(page: Page, address: str, ids: dict[str, str]):
    open_page_at(page, f"{address}#/runs", HAS_CELLS)
    page.evaluate("document.activeElement.blur()")

    def tab_to(condition: str) -> None:
        for _ in range(60):
            page.press("Tab")
            if page.evaluate(f"document.activeElement.{condition}"):
                return
        raise AssertionError(condition)

    tab_to("name === 'where'")
    page.type_text("name like 'run-%'")
    page.press("Enter")
    page.wait_for(f"location.hash.includes('where') && {GRID}.getAttribute('aria-rowcount') < 6 && {HAS_CELLS}")
    tab_to("getAttribute('role') === 'grid'")
    page.press("ArrowDown")
    page.press(" ")
    page.wait_for("document.querySelector('[aria-rowindex=\"3\"]').getAttribute('aria-selected') === 'true'")
    page.press("Enter")
    page.wait_for("location.hash.startsWith('#/runs/') && document.querySelector('h1')?.innerText.includes('run-')")
