"""Which files have doctests: pytest would import all others to look for some, and each worker all frameworks."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule

SOURCE = Path(__file__).parent / "src"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for doctests in files of the library that show one."""
    collectors = yield
    has_doctests = file_path.is_relative_to(SOURCE) and ">>> " in file_path.read_text(encoding="utf-8")
    return collectors if has_doctests else [node for node in collectors if not isinstance(node, DoctestModule)]
