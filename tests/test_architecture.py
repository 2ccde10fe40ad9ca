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
FOLDER_LEVEL = {folder: level for level, folders in enumerate(reversed(LEVELS)) for folder in folders}
FRAMEWORKS = {"torch", "keras", "tensorflow", "jax", "ray", "onnx", "lightning", "tensorboard", "mlflow"}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def folder_name(module: str) -> str:
    return module.split(".")[1]


def module_name(path: Path) -> str:
    return ".".join(["rosenblatt", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / full_name.replace(".", "/")).with_suffix(".py").exists()
                modules.add(full_name if is_module or node.module == "rosenblatt" else node.module)
    return modules


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path):
    folder = folder_name(module_name(path))
    for imported in imported_modules(path):
        if not imported.startswith("rosenblatt."):
            continue
        imported_folder = folder_name(imported)
        assert imported_folder in FOLDER_LEVEL, (
            f"{imported_folder} has no level yet: give it one in LEVELS, and in ARCHITECTURE.md"
        )
        assert imported_folder == folder or FOLDER_LEVEL[imported_folder] < FOLDER_LEVEL[folder], (
            f"{module_name(path)} imports {imported}, which is not below it. Move what it needs down, or pass it."
        )


def test_no_modules_import_each_other():
    names = {module_name(path): path for path in MODULES}
    graph = {name: imported_modules(path) & names.keys() for name, path in names.items()}
    visited: set[str] = set()

    def visit(name: str, ancestors: tuple[str, ...]) -> None:
        assert name not in ancestors, f"an import cycle: {' -> '.join((*ancestors[ancestors.index(name) :], name))}"
        if name not in visited:
            for imported in graph[name]:
                visit(imported, (*ancestors, name))
            visited.add(name)

    for name in graph:
        visit(name, ())


def test_the_root_holds_folders_and_few_files():
    entries = {path.name for path in ROOT.iterdir() if path.name != "__pycache__"}
    assert entries == {
        "__init__.py", "__main__.py", "errors.py", "py.typed", "cli", "data", "estimators", "inspection", "models",
        "networks", "runs", "spec", "training", "tuning", "workflows",
    }  # fmt: skip


def test_each_folder_says_nothing_in_its_init():
    for path in ROOT.rglob("__init__.py"):
        assert path.parent == ROOT or not path.read_text().strip(), f"{path}: move its code to a module with a name"
    for folder in (path for path in ROOT.rglob("*") if path.is_dir() and list(path.glob("*.py"))):
        assert (folder / "__init__.py").exists(), f"{folder} needs an __init__.py, or pytest puts it on sys.path"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_imports_the_package_root(path):
    assert "rosenblatt" not in imported_modules(path), (
        f"{module_name(path)}: import the module that holds the name instead"
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_frameworks_are_imported_only_by_files_named_for_them(path):
    frameworks = {imported.split(".")[0] for imported in imported_modules(path)} & FRAMEWORKS
    parts = [*path.relative_to(ROOT).parts[:-1], path.stem]
    assert all(any(framework in part for part in parts) for framework in frameworks), (
        f"{module_name(path)} imports {sorted(frameworks)}: move that to a file or folder named for it, "
        "and import that late"
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_file_says_what_it_is_for(path):
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_text())), (
            f"{module_name(path)} needs a first line: what comes in, what goes out"
        )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 500, (
        f"{module_name(path)} outgrew one room: name the concept that is missing"
    )


HEAVY_PACKAGES = (
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
    check = f"{code}\nimport sys; print('loaded:', [name for name in {HEAVY_PACKAGES} if name in sys.modules])"
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


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_each_larger_module_has_a_test_file_of_its_own(path):
    if len(path.read_text().splitlines()) > 150:
        relative = path.relative_to(ROOT)
        test_path = Path(__file__).parent / relative.parent / f"test_{relative.name}"
        assert test_path.exists(), f"{module_name(path)} has more than 150 lines: test it in {test_path.name}"
