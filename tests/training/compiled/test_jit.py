import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit, types

from rosenblatt.training.compiled import jit as jit_module
from rosenblatt.training.compiled.jit import (
    _load_current,
    call_address,
    constant_like,
    copy_row,
    flush_denormals,
    function_address,
    jit,
)

FLAT = types.Array(types.float64, 1, "C")


@jit
def total(x):
    """The sum of x."""
    result = 0.0
    for value in x:
        result += value
    return result


@jit
def narrow(x):
    """Not a kernel, because it returns float32."""
    return constant_like(1, x)


@jit
def call_kernel(address, x):
    """Call a kernel by its address."""
    return call_address(address, (x,))


@jit
def tiny_sum(x, flushed):
    """The sum of x, with or without denormals."""
    previous = flush_denormals(flushed)
    result = x[0] + x[1]
    flush_denormals(previous)
    return result


@jit
def scaled(x, factor):
    """factor x[0]."""
    return x[0] * factor


def test_a_kernel_is_called_by_its_address():
    assert call_kernel(function_address(total, FLAT), np.array([1.0, 2.5])) == 3.5


def test_a_kernel_that_returns_another_type_is_rejected():
    with pytest.raises(TypeError, match="narrow returns float32"):
        function_address(narrow, types.Array(types.float32, 1, "C"))


def test_a_function_is_not_compiled_again_for_each_constant():
    n_compiled = len(scaled.overloads)

    @njit
    def add_scaled(x):
        return scaled(x, 2) + scaled(x, 3)

    assert add_scaled(np.ones(1)) == 5
    assert len(scaled.overloads) == n_compiled + 1


def test_rows_are_copied():
    @jit
    def copy(source, target):
        copy_row(source, 2, target, 1)

    source, target = np.arange(12.0).reshape(3, 4), np.zeros((2, 4))
    copy(source, target)
    np.testing.assert_array_equal(target, [[0, 0, 0, 0], [8, 9, 10, 11]])


def test_denormals_are_flushed_only_while_this_is_enabled():
    x = np.array([1e-310, 1e-310])
    assert tiny_sum(x, False) > 0
    assert tiny_sum(x, True) in (0, 2e-310)  # processors other than x86 keep them
    assert tiny_sum(x, False) > 0


@pytest.mark.slow
def test_processes_that_compile_at_the_same_time_save_the_right_code(tmp_path):
    """Two processes compile activations into an empty cache, in opposite orders; then a third process loads them."""
    script = (
        "import numpy as np\n"
        "from rosenblatt.training.compiled.activations import ACTIVATIONS\n"
        "for name, kernel in sorted(ACTIVATIONS.items(), reverse=REVERSE)[3:9]:\n"
        "    for dtype in (np.float32, np.float64):\n"
        "        z = np.array([-1.5, 0.7], dtype)\n"
        "        a = np.empty_like(z)\n"
        "        kernel(z, a)\n"
        "        print(name, dtype.__name__, np.round(a, 5).tolist())\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    commands = [[sys.executable, "-c", script.replace("REVERSE", order)] for order in ("False", "True", "False")]
    runs = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, text=True) for c in commands[:2]]
    outputs = [sorted(run.communicate()[0].splitlines()) for run in runs]
    last_output = subprocess.run(commands[2], env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert len(outputs[0]) == 12
    assert outputs[0] == outputs[1] == sorted(last_output.splitlines())


@pytest.mark.slow
def test_a_function_is_compiled_again_if_one_that_it_calls_has_changed_in_another_file(tmp_path):
    """If it has not, its machine code is loaded without what only the compiler needs, which takes long to import."""
    shutil.copy(jit_module.__file__, tmp_path)
    script = "from jit import jit\n{import_}\n\n@jit\ndef {name}(x):\n    return {value}\n"
    caller, callee = tmp_path / "caller.py", tmp_path / "callee.py"
    caller.write_text(script.format(import_="from callee import change", name="call", value="change(x) + 1"))
    code = (
        "import sys; from caller import call\n"
        "print(call(1.0), sum(call.stats.cache_hits.values()), 'numba.typed.typeddict' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    outputs = []
    for value in ("2 * x", "2 * x", "3 * x"):
        callee.write_text(script.format(import_="", name="change", value=value))
        run = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        outputs.append(run.stdout.split())
    assert outputs == [["3.0", "0", "True"], ["3.0", "1", "False"], ["4.0", "0", "True"]]


def test_machine_code_of_another_version_is_removed_and_compiled_again():
    """A file in the cache may name a class that has another name now; unpickling it then ends in an AttributeError."""
    n_flushes = []

    def load(*_):
        raise AttributeError("Can't get attribute 'Shape'")

    cache = SimpleNamespace(_load_overload=load, flush=lambda: n_flushes.append(1))
    assert _load_current(cache, (FLAT,), total.targetctx) is None
    assert n_flushes == [1]
