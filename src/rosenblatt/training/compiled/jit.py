"""Just-in-time compilation with Numba.

All compiled functions share one set of floating-point rules. Interchangeable kernels (activations, losses, optimizers)
are called by address, so that their caller is compiled once and not for each of them.

This is the only file that uses or patches private parts of Numba, which has no public way to do this:
- `dispatcher.get_call_template`: compile functions for the types of arguments, not again for each constant.
- `dispatcher._cache`, its `load_overload` and `save_overload`: lock the cache on disk against other processes, replace
  code of other versions of this library, and ask whether a function is already compiled.
- `dispatcher._cache._load_overload`, `rtsys`: load machine code without `refresh`, with which `load_overload` imports
  all that Numba can compile. That takes 0.7 s, and only a compiler needs it, which calls `refresh` itself.
- `dispatcher._cache._cache_file._source_stamp`: compile a function again if any file of compiled code has changed, as
  it may call that code. Numba looks only at the function's own file, and calls between versions corrupt memory.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.runtime import rtsys
from numba.extending import intrinsic, overload, register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered and products fused, so that loops are vectorized; NaN and infinity keep their meaning, because
# they show that a member diverges.
FLOATING_POINT = {"contract", "reassoc", "nsz", "arcp"}


def source_stamp(folder: Path) -> str:
    """Hash of all Python files in a folder, with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


_SOURCE_STAMP = source_stamp(Path(__file__).parent)


def jit(function: Function) -> Function:
    """Compile `function` on its first call, keep the machine code on disk, release the GIL while it runs."""
    return _jit(function, FLOATING_POINT)


def exact_jit(function: Function) -> Function:
    """Compile as `jit`, but round every operation as NumPy does."""
    return _jit(function, set())


def _jit(function: Function, floating_point: set[str]) -> Function:
    compile_: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=floating_point)
    dispatcher = compile_(function)
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda arguments, names: template(tuple(map(types.unliteral, arguments)), names)
    cache = dispatcher._cache  # noqa: SLF001 - see the docstring of this module
    cache._cache_file._source_stamp = cache._cache_file._source_stamp, _SOURCE_STAMP  # noqa: SLF001
    save = cache.save_overload
    cache.load_overload = lambda signature, target: _load_current(cache, signature, target)
    cache.save_overload = lambda *overload: _save_locked(dispatcher, save, overload)
    return dispatcher


def _load_current(cache: Any, signature: tuple[types.Type, ...], target: Any) -> Any:
    """Load machine code from disk; remove that of another version of this library."""
    rtsys.initialize(target)  # the functions that machine code calls to allocate memory
    try:
        return cache._load_overload(signature, target)  # noqa: SLF001 - see the docstring of this module
    except (AttributeError, ImportError):  # its types were renamed or moved
        cache.flush()
        return None


def _save_locked(dispatcher: Any, save: Callable[..., Any], overload: tuple[Any, ...]) -> None:
    """Save machine code to disk under a lock.

    Without it two processes can write different code to the same file, and the wrong code is loaded later.
    """
    folder = Path(dispatcher.stats.cache_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError:  # not writable: nothing is saved
        return
    with lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        save(*overload)


def is_compiled(kernel: Any, *arguments: types.Type) -> bool:
    """Whether the machine code of `kernel` for these argument types is in this process or on disk."""
    if arguments in kernel.overloads:
        return True
    return kernel._cache.load_overload(arguments, kernel.targetctx) is not None  # noqa: SLF001


def inline(function: Function) -> Function:
    """Make `function` callable from compiled functions, into which it is inlined; in Python it is unchanged."""
    make: Any = register_jitable(error_model="numpy", fastmath=FLOATING_POINT, forceinline=True)
    return make(function)


def constant_like(value: Any, like: Any) -> Any:
    """Return `value` in the precision of `like`, so that it does not widen float32 to float64."""
    return np.asarray(like).dtype.type(value)


@overload(constant_like, inline="always")
def _compiled_constant_like(value, like):
    if isinstance(like, types.Array):
        like = like.dtype
    if like == types.float32:
        return lambda value, like: np.float32(value)
    return lambda value, like: np.float64(value)


def function_address(kernel: Any, *arguments: types.Type) -> int:
    """Compile `kernel` for these argument types, unless it is compiled already, and return its address.

    The address is valid in this process only.

    Raises:
        TypeError: if the kernel does not return float64.
    """
    kernel.compile(arguments)
    result = kernel.overloads[arguments]
    if result.signature.return_type != types.float64:
        raise TypeError(
            f"{kernel.py_func.__name__} returns {result.signature.return_type}, but a kernel must return float64."
        )
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


@intrinsic
def copy_row(_typing: Any, source: Any, i: Any, target: Any, j: Any) -> Any:
    """target[j] = source[i], for C-contiguous tables (n, K) of one type and width."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows = []
        for table, index in ((2, 3), (0, 1)):
            array = context.make_array(signature.args[table])(context, builder, values[table])
            width = cgutils.unpack_tuple(builder, array.shape)[1]
            rows.append(builder.gep(array.data, [builder.mul(values[index], width)]))
        size = builder.mul(width, array.itemsize)
        cgutils.raw_memcpy(builder, rows[0], rows[1], size, 1)
        return context.get_dummy_value()

    return types.none(source, types.intp, target, types.intp), generate


@intrinsic
def float32_pointer(_typing: Any, address: Any) -> Any:
    """Pointer to the float32 numbers at an address, for `numba.carray`; the caller keeps their array alive."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(address), generate


@intrinsic
def prefetch(_typing: Any, array: Any, i: Any) -> Any:
    """Prefetch element i of a C-contiguous array into the cache."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer_type, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer_type, int32, int32, int32])
        fetch = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        pointer = builder.gep(context.make_array(signature.args[0])(context, builder, values[0]).data, [values[1]])
        builder.call(fetch, [builder.bitcast(pointer, pointer_type), int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic
def flush_denormals(_typing: Any, enabled: Any) -> Any:
    """Set whether this thread treats denormal numbers as 0; return the previous setting.

    Vanishing gradients become denormal, on which x86 processors are many times slower. Other processors are not, and
    are left unchanged.
    """

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        if platform.machine().lower() not in {"x86_64", "amd64"}:
            return context.get_constant(types.boolean, 0)
        pointer_type, bits = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer_type])
        read = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse.stmxcsr")
        write = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse.ldmxcsr")
        slot = cgutils.alloca_once(builder, bits)
        builder.call(read, [builder.bitcast(slot, pointer_type)])
        before = builder.load(slot)
        new = builder.select(values[0], builder.or_(before, bits(0x8040)), builder.and_(before, bits(0xFFFF7FBF)))
        builder.store(new, slot)
        builder.call(write, [builder.bitcast(slot, pointer_type)])
        return builder.icmp_unsigned("!=", builder.and_(before, bits(0x8040)), bits(0))

    return types.boolean(types.boolean), generate


@intrinsic
def call_address(_typing: Any, address: Any, arguments: Any) -> Any:
    """Call the kernel at an address with a tuple of arguments of the types that it was compiled for."""
    argument_types = tuple(arguments.types)

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        kernel = context.call_conv.get_function_type(types.float64, argument_types)
        pointer = builder.inttoptr(values[0], kernel.as_pointer())
        call_arguments = cgutils.unpack_tuple(builder, values[1])
        return context.call_conv.call_function(builder, pointer, types.float64, argument_types, call_arguments)[1]

    return types.float64(address, arguments), generate
