"""Tests of the page Playground in Chromium."""

from __future__ import annotations

import pytest

from tests.dashboard.page_checks import find_barriers, other_hosts, set_theme
from tests.serving.browser import Page

pytestmark = pytest.mark.browser
BUTTON = "[...document.querySelectorAll('button')].find(button => button.innerText === '{}')"
COUNTS = "document.querySelector('.counts')?.innerText"


def open_playground(page: Page, address: str, query: str) -> None:
    page.open("about:blank")
    page.open(f"{address}#/playground?{query}")
    page.wait_for(f"{COUNTS}?.includes('points')")


def click(page: Page, button: str) -> None:
    page.wait_for(f"{BUTTON.format(button)}?.disabled === false")
    page.evaluate(f"{BUTTON.format(button)}.click()")


def press(page: Page, key: str) -> None:
    page.evaluate("document.querySelector('canvas').focus()")
    page.evaluate(
        f"document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
    )
    page.evaluate("new Promise(requestAnimationFrame)")


def test_a_perceptron_is_trained_mistake_by_mistake_until_it_makes_none(page: Page, address: str):
    open_playground(page, address, "set=separable&points=40")
    click(page, "Next update")
    page.wait_for("document.querySelector('#explanation').innerText.includes('a mistake')")
    assert page.evaluate("document.querySelector('#mistakes').innerText") == "1"
    assert "(R / γ)²" in page.evaluate(COUNTS)
    for _ in range(100):
        if page.evaluate(f"{BUTTON.format('Next epoch')}.disabled"):
            break
        before = page.evaluate(COUNTS)
        page.evaluate(f"{BUTTON.format('Next epoch')}.click()")
        page.wait_for(f"{COUNTS} !== {before!r}")
    assert "100.0 %" in page.evaluate(COUNTS)
    assert not page.errors


def test_a_multilayer_perceptron_runs_and_takes_over_its_weights(page: Page, address: str):
    open_playground(page, address, "kind=mlp&set=xor&points=60&hidden_sizes=4")
    click(page, "Run")
    page.wait_for("Number(document.querySelector('.counts dd').innerText) > 5")
    click(page, "Pause")
    page.evaluate(
        "(() => { const input = [...document.querySelectorAll('label')].find(label => "
        "label.innerText.startsWith('learning rate')).querySelector('input'); input.value = '0.1'; "
        "input.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    page.wait_for("document.querySelector('#explanation').innerText.includes('taken over: 4')")
    assert "learning_rate=0.1" in page.evaluate("location.hash")
    assert page.evaluate("document.querySelectorAll('.diagram line').length") == 12
    click(page, "Save as files")
    page.wait_for("document.querySelector('pre')?.innerText.startsWith('rosenblatt fit points.csv')")
    assert not page.errors


def test_points_are_drawn_by_keyboard(page: Page, address: str):
    page.open("about:blank")
    page.open(f"{address}#/playground?set=drawn")
    page.wait_for("document.querySelector('main').innerText.includes('Add points of both classes')")
    press(page, "1")
    press(page, "ArrowRight")
    press(page, "2")
    page.wait_for(f"{COUNTS}?.includes('2 points')")
    press(page, "Delete")
    page.wait_for("document.querySelector('main').innerText.includes('Add points of both classes')")
    assert not page.errors


def test_two_columns_of_a_table_become_points_and_their_names_are_text(page: Page, address: str):
    open_playground(page, address, "set=xor&points=20")
    page.evaluate(
        "(() => { const text = '<b>size</b>,weight,kind\\n1.5,2,a\\n2,1,b\\n3,4,a\\n,1,b\\n1,0.5,b\\n';"
        "const data = new DataTransfer(); data.items.add(new File([text], 'table.csv'));"
        "const drop = new DragEvent('drop', {dataTransfer: data, bubbles: true});"
        "document.querySelector('.lesson').dispatchEvent(drop); })()"
    )
    page.wait_for("document.querySelector('main').innerText.includes('1 are left out')")
    click(page, "Show these points")
    page.wait_for(f"{COUNTS}.includes('4 points')")
    assert "<b>size</b>" in page.evaluate("document.querySelector('#plane-help').innerText")
    assert page.evaluate("document.querySelectorAll('main b').length") == 0


def test_a_wrong_setting_is_explained(page: Page, address: str):
    page.open("about:blank")
    page.open(f"{address}#/playground?kind=mlp&learning_rate=-1")
    page.wait_for("document.querySelector('[role=alert]')?.innerText.includes('learning_rate')")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("query", ["set=separable&points=20", "kind=mlp&set=circles&points=20"])
def test_the_page_has_no_barriers_and_loads_nothing_from_other_hosts(page: Page, address: str, theme: str, query: str):
    set_theme(page, theme)
    open_playground(page, address, query)
    assert find_barriers(page) == []
    assert other_hosts(page, address) == []


def test_a_barrier_would_be_found(page: Page, address: str):
    open_playground(page, address, "set=separable&points=20")
    page.evaluate("document.querySelector('main').append(document.createElement('select')) ?? 0")
    assert [finding[1] for finding in find_barriers(page)] == ["select-name"]
