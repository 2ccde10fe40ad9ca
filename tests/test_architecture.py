"""Rules of ARCHITECTURE.md: imports between folders, late imports, sizes of files and functions, and language."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import rosenblatt

ROOT = Path(rosenblatt.__file__).parent
LEVELS = [  # a folder imports only from folders on lower levels
    {"__main__"},
    {"cli"},
    {"serving", "dashboard"},
    {"web"},
    {"workflows", "estimators"},
    {"cluster"},
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


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported_modules(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / full_name.replace(".", "/")).with_suffix(".py").exists()
                modules.add(full_name if is_module or node.module == "rosenblatt" else node.module)
    return modules


def check(is_right: Callable[[Path], object], advice: str) -> None:
    """Fail with the names of all modules that break a rule, and what to do."""
    faults = [module_name(path) for path in MODULES if not is_right(path)]
    assert not faults, f"{', '.join(faults)}: {advice}"


def test_every_folder_has_a_level():
    assert {folder_name(module_name(path)) for path in MODULES} <= FOLDER_LEVEL.keys(), (
        "add the folder to LEVELS and to ARCHITECTURE.md"
    )


def test_modules_import_only_from_lower_levels():
    for path in MODULES:
        folder = folder_name(module_name(path))
        for imported in imported_modules(path):
            imported_folder = folder_name(imported) if imported.startswith("rosenblatt.") else folder
            assert imported_folder == folder or FOLDER_LEVEL[imported_folder] < FOLDER_LEVEL[folder], (
                f"{module_name(path)} imports {imported}, which is not on a lower level. Move the shared code down, or "
                "pass it as an argument."
            )


def test_there_are_no_import_cycles():
    names = {module_name(path): path for path in MODULES}
    graph = {name: imported_modules(path) & names.keys() for name, path in names.items()}
    visited: set[str] = set()

    def visit(name: str, ancestors: tuple[str, ...]) -> None:
        assert name not in ancestors, f"import cycle: {' -> '.join((*ancestors[ancestors.index(name) :], name))}"
        if name not in visited:
            for imported in graph[name]:
                visit(imported, (*ancestors, name))
            visited.add(name)

    for name in graph:
        visit(name, ())


def test_the_package_root_holds_only_folders_and_a_few_modules():
    entries = {path.name for path in ROOT.iterdir() if path.name != "__pycache__"}
    assert entries == {
        "__init__.py", "__main__.py", "errors.py", "py.typed", "cli", "cluster", "dashboard", "data", "estimators",
        "inspection", "models", "networks", "runs", "serving", "spec", "training", "tuning", "web", "workflows",
    }  # fmt: skip


def test_init_files_of_folders_exist_and_are_empty():
    for path in ROOT.rglob("__init__.py"):
        assert path.parent == ROOT or not path.read_text().strip(), f"{path}: move the code to a named module"
    for folder in (path for path in ROOT.rglob("*") if path.is_dir() and list(path.glob("*.py"))):
        assert (folder / "__init__.py").exists(), f"{folder} needs an __init__.py, or pytest puts it on sys.path"


def test_no_module_imports_the_package_root():
    check(
        lambda path: "rosenblatt" not in imported_modules(path),
        "import the module that defines the name, and not the package",
    )


def imports_only_its_frameworks(path: Path) -> bool:
    frameworks = {imported.split(".")[0] for imported in imported_modules(path)} & FRAMEWORKS
    parts = [*path.relative_to(ROOT).parts[:-1], path.stem]
    return all(any(framework in part for part in parts) for framework in frameworks)


def test_frameworks_are_imported_only_by_modules_named_after_them():
    check(
        imports_only_its_frameworks,
        "move the code that imports a framework to a file or folder named after it, and import it where it is used",
    )


def test_every_module_has_a_docstring():
    check(lambda path: path.name == "__init__.py" or ast.get_docstring(parse(path)), "add what the module is for")


def test_modules_have_at_most_500_lines():
    check(lambda path: len(path.read_text().splitlines()) <= 500, "split the module by idea")


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


HELP = "from rosenblatt.cli.main import cli\nfor words in ([], ['fit']): cli([*words, '--help'], standalone_mode=False)"


@pytest.mark.parametrize("code", ["import rosenblatt", HELP])  # the help of `rosenblatt` imports all commands
def test_importing_the_package_and_showing_help_load_no_heavy_packages(code):
    check = f"{code}\nimport sys; print('loaded:', [name for name in {HEAVY_PACKAGES} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded: []"


def test_there_are_at_most_26_public_names_and_all_exist():
    assert len(rosenblatt.__all__) <= 26
    assert set(rosenblatt.__all__) == set(rosenblatt._HOMES)
    for name in rosenblatt.__all__:
        assert getattr(rosenblatt, name).__doc__


def test_an_unknown_public_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MLPClasifier'"):
        _ = rosenblatt.MLPClasifier


def is_short_or_tested(path: Path) -> bool:
    relative = path.relative_to(ROOT)
    test_path = Path(__file__).parent / relative.parent / f"test_{relative.name}"
    return len(path.read_text().splitlines()) <= 150 or test_path.exists()


def test_every_module_of_more_than_150_lines_has_its_own_test_file():
    check(is_short_or_tested, "add tests in a file of the same folder and name, after test_")


OPTIMIZERS = "adagrad", "adam", "momentum", "nadam", "nesterov", "rmsprop", "sgd"
MAX_FUNCTION_LINES = 40  # without the docstring
MAX_PARAMETERS = 8  # without self and cls
LARGE_FUNCTIONS = {
    # All settings are arguments: constructors as in scikit-learn, public functions, commands of click.
    "estimators.search.__init__", "workflows.fit.fit", "workflows.tune.tune", "cli.explain.explain",
    "cli.learn_step.learn_step", "cli.models.evaluate", "cli.models.predict",
    # The functions of all optimizers have the same parameters.
    *(f"training.compiled.optimizers.{name}" for name in OPTIMIZERS),
    *(f"training.torch.optimizers.{name}" for name in OPTIMIZERS),
    # Kernels that Numba compiles, and the layers of a forward pass.
    "training.compiled.first_layer.kernel",
    "training.compiled.matmul.tile", "training.compiled.matmul.row", "training.compiled.matmul.matmul",
    "training.compiled.perceptron.train_voted", "training.compiled.perceptron.train_linear",
    "training.torch.forward.forward_layer",
}  # fmt: skip
FORBIDDEN_WORDS = re.compile(
    r"\b(heed|told|said|learnt|mend(?:s|ed)?|spares?|spared|deal|dealt|likeness|comes to|came to|of late|where there "
    r"(?:is|are)|such as it is|as it were|polite kill)\b",
    re.IGNORECASE,
)
REPOSITORY = ROOT.parents[1]
TEXTS = sorted(
    [*ROOT.rglob("*.py"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md"]
)


def function_size(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """Lines without the docstring, and parameters without self and cls."""
    n_lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False):
        n_lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return n_lines, sum(parameter.arg not in {"self", "cls"} for parameter in parameters)


def test_functions_are_short_and_have_few_parameters():
    for path in MODULES:
        functions = ast.walk(parse(path)) if "migrations" not in path.parts else ()
        for node in functions:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{module_name(path).removeprefix('rosenblatt.')}.{node.name}"
                n_lines, n_parameters = function_size(node)
                is_small = n_lines <= MAX_FUNCTION_LINES and n_parameters <= MAX_PARAMETERS
                assert is_small or name in LARGE_FUNCTIONS, f"split {name}: {n_lines} lines, {n_parameters} parameters"


def test_texts_use_the_terms_of_the_field():
    for path in TEXTS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            word = FORBIDDEN_WORDS.search(line)
            assert not word, f"{path}, line {number}: say {word[0]!r} in the terms of the field: {line.strip()}"
