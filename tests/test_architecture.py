"""The rules of ARCHITECTURE.md on who may import whom, and what may be loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rosenblatt

ROOT = Path(rosenblatt.__file__).parent
LEVELS = [  # a folder imports only from folders on the levels below its own
    {"__main__"},
    {"cli"},
    {"workflows", "estimators"},
    {"inspection", "tuning"},
    {"models"},
    {"training"},
    {"data", "networks"},
    {"runs", "spec"},
    {"errors"},
]
LEVEL = {folder: level for level, folders in enumerate(reversed(LEVELS)) for folder in folders}
FRAMEWORKS = {"torch", "keras", "tensorflow", "jax", "ray", "onnx", "lightning", "tensorboard", "mlflow"}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def folder_of(module: str) -> str:
    return module.split(".")[1]


def name_of(path: Path) -> str:
    return ".".join(["rosenblatt", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if node.module != "rosenblatt" else {f"rosenblatt.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    folder = folder_of(name_of(path))
    for imported in imports_of(path):
        if not imported.startswith("rosenblatt."):
            continue
        other = folder_of(imported)
        if folder not in LEVEL or other not in LEVEL:  # not in its folder yet
            continue
        assert other == folder or LEVEL[other] < LEVEL[folder], (
            f"{name_of(path)} imports {imported}, which is not below it. Move what it needs down, or pass it."
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_the_package_root(path):
    assert "rosenblatt" not in imports_of(path), f"{name_of(path)}: import the module that holds the name instead"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_frameworks_are_imported_only_by_files_named_for_them(path):
    used = {imported.split(".")[0] for imported in imports_of(path)} & FRAMEWORKS
    parts = [*path.relative_to(ROOT).parts[:-1], path.stem]
    assert all(any(framework in part for part in parts) for framework in used), (
        f"{name_of(path)} imports {sorted(used)}: move that to a file or folder named for it, and import that late"
    )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_file_says_what_it_is_for(path):
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_text())), (
            f"{name_of(path)} needs a first line: what comes in, what goes out"
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 450, (
        f"{name_of(path)} outgrew one room: name the concept that is missing"
    )


HEAVY = (
    "numba",
    "sqlalchemy",
    "alembic",
    "psutil",
    "sklearn",
    "scipy",
    "matplotlib",
    "polars",
    "pandas",
    *sorted(FRAMEWORKS),
)


@pytest.mark.parametrize(
    "code", ["import rosenblatt", "from rosenblatt.cli.main import cli; cli(['fit', '--help'], standalone_mode=False)"]
)
def test_import_and_help_load_nothing_heavy(code):
    check = f"{code}\nimport sys; print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded: []"


def test_public_names_are_few_and_all_there():
    assert len(rosenblatt.__all__) <= 25
    assert set(rosenblatt.__all__) == set(rosenblatt._HOMES)
    for name in rosenblatt.__all__:
        assert getattr(rosenblatt, name).__doc__


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MLPClasifier'"):
        _ = rosenblatt.MLPClasifier
