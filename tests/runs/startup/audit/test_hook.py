"""What the processes of a script read is seen, and a change of it, or what cannot be seen, prevents reuse."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rosenblatt.runs.capture.reuse import find_reusable_run
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.startup.audit.programs import STARTUP_FOLDER
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.store import Store

POOL = """
import multiprocessing, sys
def read(path):
    return open(path).read()
if __name__ == "__main__":
    with multiprocessing.get_context("{}").Pool(1) as pool:
        print(pool.map(read, ["data/a.txt"]))
"""
WRITE_IN_C = """
import ctypes, rosenblatt
libc = ctypes.CDLL(None)
file = libc.creat(b"model.bin", 0o644)
libc.write(file, b"x", 1)
libc.close(file)
rosenblatt.track().log_artifact("model.bin")
"""
CHILD = "import subprocess, sys\nsubprocess.run([sys.executable, {}], check=True{})"
READ = "print(open('data/a.txt').read())"


def change(name: str, text: str = "changed"):
    def apply() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)

    return apply


def set_variable(name: str = "MODE") -> None:
    os.environ[name] = "other"


def add_variable() -> None:
    os.environ["APP_NEW"] = "x"


CHANGES = {
    "file": (READ, change("data/a.txt")),
    "file in a new working folder": ("import os\nos.chdir('data')\nopen('a.txt')", change("data/a.txt")),
    "file opened to append": ("f = open('data/a.txt', 'a+')\nf.seek(0)\nprint(f.read())", change("data/a.txt")),
    "removed file": (READ, lambda: Path("data/a.txt").unlink()),
    "absent file": ("try:\n    open('new.txt')\nexcept OSError:\n    pass", change("new.txt")),
    "forked worker": (POOL.format("fork"), change("data/a.txt")),
    "spawned worker": (POOL.format("spawn"), change("data/a.txt")),
    "child process": (CHILD.format(f'"-c", "{READ}"', ""), change("data/a.txt")),
    "script of a child process": (CHILD.format('"worker.py"', ""), change("worker.py", "print(777)")),
    "script through a shell": ("import os\nos.system('python worker.py')", change("worker.py", "print(777)")),
    "lazy module": ("def f():\n    import worker\nf()", change("worker.py", "print(777)")),
    "listed folder": ("import os\nprint(os.listdir('data'))", change("data/c.txt")),
    "scanned folder": ("import os\nprint(list(os.scandir('data')))", change("data/c.txt")),
    "walked folder": ("import os\nprint(list(os.walk('data')))", change("data/sub/c.txt")),
    "pattern": ("import glob\nprint(glob.glob('data/*.txt'))", change("data/c.txt")),
    "recursive pattern": ("import glob\nprint(glob.glob('data/**/*.txt', recursive=True))", change("data/sub/c.txt")),
    "pattern of pathlib": ("import pathlib\nprint(list(pathlib.Path('data').glob('*.txt')))", change("data/c.txt")),
    "iterdir": ("import pathlib\nprint(list(pathlib.Path('data').iterdir()))", change("data/c.txt")),
    "variable": ("import os\nprint(os.environ['MODE'])", set_variable),
    "variable with a default": ("import os\nprint(os.getenv('MODE', 'x'))", set_variable),
    "variable as bytes": ("import os\nprint(os.environb[b'MODE'])", set_variable),
    "variable as bytes with a default": ("import os\nprint(os.getenvb(b'MODE', b''))", set_variable),
    "test for a variable": ("import os\nprint('MODE' in os.environ)", set_variable),
    "all variables": ("import os\nprint({k.lower(): v for k, v in os.environ.items()})", set_variable),
    "new variable among all": ("import os\nprint([k for k in os.environ if k[:4] == 'APP_'])", add_variable),
    "new variable among the keys": ("import os\nfor k in os.environ.keys():\n    print(k)", add_variable),
    "variable in a child process": (CHILD.format("\"-c\", \"import os; os.environ['MODE']\"", ""), set_variable),
    "secret variable": ("import os\nprint(len(os.environ['HUB_TOKEN']))", lambda: set_variable("HUB_TOKEN")),
    "database": ("import sqlite3\nprint(sqlite3.connect('data/a.txt'))", change("data/a.txt")),
}  # fmt: skip

NOT_INPUTS = {
    "file beside a pattern": ("import glob\nprint(glob.glob('data/*.txt'))", change("data/c.csv")),
    "variable that is only copied": ("import os\nprint(len({**os.environ}), len(os.environ.copy()))", set_variable),
    "new variable of a copy": ("import os\nprint({**os.environ}, dict(os.environ), os.environ.copy())", add_variable),
    "new variable beside one that is read": ("import os\nprint(os.environ['MODE'])", add_variable),
    "new variable of a child": ("import os\nos.spawnve(os.P_WAIT, '/bin/true', ['true'], os.environ)", add_variable),
    "environment of a child": (CHILD.format('"-c", "pass"', ", env={**__import__('os').environ}"), set_variable),
    "variable that the script sets": ("import os\nos.environ['MODE'] = 'x'\nos.environ['MODE']", set_variable),
    "file that the script writes": ("open('out.txt', 'w').write('x')\nopen('out.txt').read()", change("out.txt")),
    "log that the script appends to": ("open('log.txt', 'a').write('x')", change("log.txt")),
    "artifact that a library wrote in C": (WRITE_IN_C, change("model.bin")),
    "list of fonts": ("try:\n    open('fontlist-v1.json')\nexcept OSError:\n    pass", change("fontlist-v1.json")),
    "folder that the script makes": (
        "import os, shutil\nos.mkdir('tmp')\nopen('tmp/x', 'w').close()\nshutil.rmtree('tmp')", change("tmp/y"),
    ),
}  # fmt: skip

UNSEEN = {
    "standard input": "import sys\nprint(sys.stdin.read())",
    "standard input through input()": "print(input())",
    "standard input by number": "print(open(0).read())",
    "program": "import subprocess\nsubprocess.run(['cat', 'data/a.txt'], check=True)",
    "shell": "import os\nos.system('cat data/a.txt | wc -l')",
    "Python without the hook": CHILD.format(f'"-I", "-c", "{READ}"', ""),
    "Python with another PYTHONPATH": CHILD.format(f'"-c", "{READ}"', ", env={'PYTHONPATH': 'x'}"),
    "network": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))",
    "local server": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))",
    "library in Rust": "import polars\nprint(polars.read_csv('data/a.txt'))",
}


@pytest.fixture
def folder(work_folder, monkeypatch):
    monkeypatch.setenv("MODE", "some")
    monkeypatch.setenv("HUB_TOKEN", "some")
    monkeypatch.setenv("APP_NEW", "")
    monkeypatch.delenv("APP_NEW")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    change("data/a.txt", "1\n")()
    change("data/b.txt", "2\n")()
    change("worker.py", "print(1)\n")()
    return work_folder


def run_script(folder: Path, code: str, **request):
    (folder / "train.py").write_text(code)
    status, run = launch(LaunchRequest("train.py", (), **request))
    assert status == 0
    with closing(Store(run.url)) as store:
        return run.url, run_details(store, run.id)


def reuse(url, details):
    return find_reusable_run(url, details.identity)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_input_prevents_reuse(folder, name):
    code, apply = CHANGES[name]
    url, details = run_script(folder, code)
    assert reuse(url, details).id == details.id, reuse(url, details).reason
    apply()
    result = reuse(url, details)
    assert result.id is None
    assert result.reason.endswith(f"changed since run {details.id}")


@pytest.mark.parametrize("name", NOT_INPUTS)
def test_what_is_no_input_may_change(folder, name):
    code, apply = NOT_INPUTS[name]
    url, details = run_script(folder, code)
    apply()
    assert reuse(url, details).id == details.id, reuse(url, details).reason


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen_prevents_reuse_and_is_named(folder, name, monkeypatch):
    with (folder / "data" / "b.txt").open() as file:
        saved = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            url, details = run_script(folder, UNSEEN[name])
        finally:
            os.dup2(saved, 0)
            os.close(saved)
    assert len(details.unseen) == 1
    assert reuse(url, details).reason == f"run {details.id} cannot be reused: it used {details.unseen[0]}"


def test_a_state_file_that_is_read_and_rewritten_is_recorded_as_it_was_read(folder):
    code = "text = open('data/a.txt').read()\nopen('data/a.txt', 'w').write(text + '1')"
    url, details = run_script(folder, code)
    assert "data/a.txt has changed" in reuse(url, details).reason
    (folder / "data" / "a.txt").write_text("1\n")
    assert reuse(url, details).id == details.id


def test_outputs_are_recorded_and_no_inputs(folder):
    code = "import os\nopen('x.tmp', 'w').close()\nos.rename('x.tmp', 'x.json')\nopen('a\\tb\\n.txt', 'w').close()"
    _, details = run_script(folder, code)
    assert [output.name for output in details.outputs] == ["x.json", "a\tb\n.txt"]
    assert not details.data_read


@pytest.mark.parametrize("name", ["model.pt", "Modell für morgen.pt"])
def test_a_file_that_pytorch_writes_is_an_output_also_if_it_is_read_again(folder, name):
    pytest.importorskip("torch")
    code = f"import torch\ntorch.save([1], {name!r})\nassert torch.load({name!r}) == [1]"
    url, details = run_script(folder, code)
    assert name in {file.name for file in details.outputs}
    assert name not in {file.name for file in details.data_read}
    change(name)()
    assert reuse(url, details).id == details.id


def test_named_data_stands_for_what_libraries_read_in_rust(folder):
    _, details = run_script(folder, UNSEEN["library in Rust"], data=("data/a.txt",))
    assert not details.unseen


def test_a_script_finds_the_modules_and_paths_that_it_would_find_without_the_hook(folder):
    code = "import sys\nprint(sys.path, 'json' in sys.modules, 'pathlib' in sys.modules, 'audit' in sys.modules)"
    (folder / "train.py").write_text(code)
    plain = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True).stdout
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [STARTUP_FOLDER, os.environ.get("PYTHONPATH")]))}
    audited = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True, env=env).stdout
    assert audited == plain


def test_a_sitecustomize_of_the_user_runs_as_well(folder, monkeypatch):
    change("site/sitecustomize.py", "print('mine')")()
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    )
    (folder / "train.py").write_text("import sitecustomize\nprint(sitecustomize.__file__)")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([STARTUP_FOLDER, os.environ["PYTHONPATH"]])}
    output = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True, env=env).stdout
    assert output == f"mine\n{folder}/site/sitecustomize.py\n"
