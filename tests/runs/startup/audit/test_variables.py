"""Which environment variables count when a library reads them."""

from __future__ import annotations

import pytest

from rosenblatt.runs.startup.audit.variables import is_session_variable, selects_variable


@pytest.mark.parametrize("name", ["PATH", "HOME", "LC_TIME", "TERM", "SSH_TTY", "XDG_CACHE_HOME", "CI"])
def test_variables_of_the_session_do_not_count(name):
    assert is_session_variable(name)


@pytest.mark.parametrize(
    ("code", "name", "is_selected"),
    [
        ("/env/site-packages/tqdm/utils.py", "TQDM_DISABLE", True),
        ("/env/site-packages/tqdm/utils.py", "LR", False),
        ("/env/site-packages/numba/core/config.py", "NUMBA_NUM_THREADS", True),
        ("/env/site-packages/numba/core/config.py", "LR", False),
        ("/env/site-packages/pydantic_settings/sources.py", "LR", True),
        ("/project/settings.py", "LR", True),
    ],
)
def test_libraries_that_search_all_variables_use_those_with_their_prefix(code, name, is_selected):
    assert selects_variable(code, name) == is_selected
