"""`track(reuse=True)` returns an earlier run only if what that run read is unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import rosenblatt
with rosenblatt.track(reuse={reuse}) as run:
    print(run.reused)
    if not run.reused:
        {code}
"""
CHANGES = {
    "import lazy": "lazy.py",
    "import sys; sys.path.insert(0, '../lib'); import shared": "../lib/shared.py",
    "print(open('data.txt').read())": "data.txt",
    "import subprocess, sys; subprocess.run([sys.executable, 'lazy.py'], check=True)": "lazy.py",
}


@pytest.fixture
def folder(work_folder):
    (work_folder / "lazy.py").write_text("X = 1\n")
    (work_folder / "data.txt").write_text("1\n")
    (work_folder.parent / "lib").mkdir()
    (work_folder.parent / "lib" / "shared.py").write_text("X = 1\n")
    return work_folder


def run_python(*arguments: str, **options) -> tuple[str, str]:
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, env=env, **options
    )
    return result.stdout.split()[0], result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", CHANGES)
def test_what_a_tracked_script_reads_is_checked(folder, code):
    Path("train.py").write_text(SCRIPT.format(reuse=True, code=code))
    assert run_python("train.py")[0] == "False"
    reused, reason = run_python("train.py")
    assert reused == "True", reason
    changed = Path(CHANGES[code])
    changed.write_text("X = 2\n")
    reused, reason = run_python("train.py")
    assert reused == "False"
    assert f"{changed.name} has changed since run" in reason


def test_a_run_that_was_not_watched_is_not_reused(folder):
    Path("train.py").write_text(SCRIPT.format(reuse=False, code="pass"))
    run_python("train.py")
    Path("train.py").write_text(SCRIPT.format(reuse=True, code="pass"))
    assert run_python("train.py")[0] == "False"


def test_code_that_is_not_in_a_file_is_not_reused(folder):
    code = SCRIPT.format(reuse=True, code="pass")
    run_python("-c", code)
    reused, reason = run_python("-c", code)
    assert reused == "False"
    assert "code that is not in a file (command)" in reason


@pytest.mark.slow
def test_variables_that_are_only_copied_do_not_count_where_two_processes_watch(folder):
    code = "import subprocess; subprocess.run(['true'], check=True)"
    Path("train.py").write_text(SCRIPT.format(reuse=True, code=code))
    Path("start.py").write_text(
        """
import os, subprocess, sys, rosenblatt
with rosenblatt.track(reuse=True):
    for mode in ("some", "other"):
        subprocess.run([sys.executable, "train.py"], check=True, env=os.environ | {"MODE": mode})
"""
    )
    result = subprocess.run([sys.executable, "start.py"], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"], result.stderr
