"""The page of a server in a real browser."""

import json

import pytest

from tests.serving.browser import open_page
from tests.serving.people_model import make_model, save
from tests.serving.servers import post, start

TOKEN = "secret-token-of-tests"


@pytest.mark.slow
@pytest.mark.browser
def test_a_row_is_tried_in_a_browser(tmp_path):
    with start(save(make_model(), tmp_path)) as (_, ready), open_page(tmp_path) as page:
        page.open(ready["address"])
        page.wait_for("document.querySelectorAll('#fields .field').length === 4")
        assert page.evaluate("document.title") == "Try people"
        page.evaluate("document.getElementById('field-0').value = '39.5'; document.getElementById('submit').click()")
        page.wait_for("document.querySelectorAll('#answer table').length >= 2")
        shown = page.evaluate("document.getElementById('answer').innerText")
        _, answer = post(ready["address"], json.dumps({"rows": [page.evaluate("readRow()")]}))
        assert answer["predictions"][0]["income"] in shown
        assert "What mattered for the" in shown
        assert not page.errors


@pytest.mark.slow
@pytest.mark.browser
def test_wrong_cells_are_marked_and_hostile_names_of_columns_are_text(tmp_path):
    with start(save(make_model(), tmp_path, "<img src=x onerror=alert(1)>")) as (_, ready), open_page(tmp_path) as page:
        page.open(ready["address"])
        page.wait_for("!document.getElementById('row').hidden")
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        page.evaluate("document.getElementById('field-0').value = 'old'; document.getElementById('submit').click()")
        page.wait_for("document.querySelector('#answer [role=alert]')")
        assert "'age' must be a finite number" in page.evaluate("document.getElementById('answer').innerText")
        assert page.evaluate("document.getElementById('field-0').getAttribute('aria-invalid')") == "true"


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_asks_for_the_token(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    served = start(save(make_model(), tmp_path), "--token-file", tmp_path / "token")
    with served as (_, ready), open_page(tmp_path) as page:
        assert post(ready["address"])[0] == 401
        page.open(ready["address"])
        page.wait_for("!document.getElementById('access').hidden")
        for token, is_row_shown in (("wrong", False), (TOKEN, True)):
            page.evaluate(f"document.getElementById('token').value = {token!r}")
            page.evaluate("document.querySelector('#access button').click()")
            text = "document.getElementById('about').innerText"
            page.wait_for(f"{text}.includes('{'predicts income' if is_row_shown else 'token is wrong'}')")
            page.wait_for(f"document.getElementById('row').hidden !== {str(is_row_shown).lower()}")
