"""What a training function needs on another machine: its code, the files of its project, and its data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rosenblatt.cluster.script_files import MAX_BYTES, ScriptFiles, describe_files, find_script_files
from rosenblatt.errors import ClusterError, Notify, SpecError
from rosenblatt.runs.capture.git import find_root
from rosenblatt.runs.capture.inputs import OWN_PACKAGE
from rosenblatt.runs.capture.snapshot import fingerprint_data
from rosenblatt.runs.capture.source import is_installed
from rosenblatt.runs.store.locations import store_prefixes, store_url
from rosenblatt.tuning.trial_messages import FunctionBundle


def bundle_function(
    train: Callable[..., Any], data: Sequence[str | Path], store: str | None, notify: Notify
) -> FunctionBundle:
    """Pack a training function for other machines.

    In a git repository, all files that git does not ignore are sent, else all files of the working folder. Modules from
    elsewhere that are not installed, and the program itself, travel with the function.

    Args:
        train: the training function.
        data: files and folders that it reads. Those of the project are sent; others must be on each machine.
        store: the store of runs, as for `track`, which is not sent.
        notify: called with a description of what is sent.

    Raises:
        SpecError: if the function cannot be pickled.
        ClusterError: if its files are too large.
        RunError: if data cannot be read.
    """
    folder = Path.cwd().resolve()
    root = find_root(folder) or folder
    own_data = [path for path in data if (folder / path).resolve().is_relative_to(root)]
    other_data = [Path(path) for path in data if path not in own_data]
    for path in other_data:
        if not path.is_absolute():
            raise ClusterError(
                f"The data {str(path)!r} is outside of {str(root)!r}, whose files are sent to the machines. Move it "
                "there, or name it by an absolute path that all machines share."
            )
    hashes = {str(path): fingerprint_data(path).hash for path in other_data}
    for own_path in own_data:
        fingerprint_data(own_path)
    url = store_url(store)
    files = find_script_files(folder, [folder / own_path for own_path in own_data], store_prefixes(url) if url else ())
    function = _pickle(train, files)
    with files.open_archive() as archive:
        content = archive.read()
    notify(describe_files(files, "data"))
    folders = dict.fromkeys(_relative_folders(root))
    return FunctionBundle(
        function, sys.version_info[:2], content, folder.relative_to(root).as_posix(), tuple(folders), hashes
    )


def _relative_folders(root: Path) -> Iterator[str]:
    """The folders of modules that are below the root."""
    for name in sys.path:
        path = Path(name or ".").resolve()
        if path.is_relative_to(root) and path.is_dir() and not is_installed(path):
            yield path.relative_to(root).as_posix()


def _pickle(train: Callable[..., Any], files: ScriptFiles) -> bytes:
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise ClusterError("cloudpickle is not installed. Run: pip install 'rosenblatt[cluster]'") from error
    try:
        with _pickled_by_value(files):
            content: bytes = cloudpickle.dumps(train)
    except Exception as error:  # objects of the user may raise anything
        raise SpecError(
            f"The training function cannot be sent to other machines: {error}. Open files, connections and the like "
            "inside it, or leave out `on`."
        ) from error
    if len(content) > MAX_BYTES:
        raise SpecError(
            f"The training function has {len(content) / 1e6:,.0f} MB with the variables that it uses, but at most "
            f"{MAX_BYTES / 1e6:,.0f} MB are sent. Read large arrays inside it, from files that `data` names."
        )
    return content


@contextmanager
def _pickled_by_value(files: ScriptFiles) -> Iterator[None]:
    """Let modules of the user that are not among the sent files travel with the function."""
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    sent = {files.root / name for name in files.names}
    modules = [module for module in _user_modules() if module.__name__ not in registered]
    paths = {module.__name__: Path(str(module.__file__)) for module in modules}
    modules = [m for m in modules if sent.isdisjoint((paths[m.__name__].absolute(), paths[m.__name__].resolve()))]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _user_modules() -> Iterator[ModuleType]:
    """The imported modules that belong neither to Python nor to an installed package."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name != "__main__" and getattr(module, "__name__", "") == name:
            path = Path(file).absolute()
            if not is_installed(path) and not path.is_relative_to(OWN_PACKAGE):
                yield module
