"""The same environment on another machine as here: built once from this package and the versions installed here."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shlex
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from rosenblatt.cluster.checks import PYTHON, Machine
from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.ssh import SshSessions
from rosenblatt.cluster.versions import installed_versions
from rosenblatt.cluster.wheel import build_wheel, canonical_name, node_requirements, pinned_requirements, sources_digest
from rosenblatt.errors import ClusterError, Notify, format_count

BUILD_TIMEOUT_S = 1800
TRANSFER_TIMEOUT_S = 1800
VERSIONS_TIMEOUT_S = 60
KEY_LENGTH = 16  # characters of the hash that names an environment
RAY_VERSIONS = (2, 59), (3, 0)  # the first with authentication and all settings, and the first that is not tested
_FOLDER = '"${XDG_CACHE_HOME:-$HOME/.cache}"/rosenblatt/environments/'
_NETWORK_PROBLEMS = (  # of pip and uv, when no package index is reached
    "name resolution", "dns error", "failed to lookup", "network is unreachable", "no route to host", "timed out",
    "connection refused", "newconnectionerror", "failed to fetch", "error sending request", "connecttimeout",
)  # fmt: skip


@dataclass(frozen=True)
class EnvironmentSource:
    """What an environment is made from: this package, exact versions, and optionally a folder of wheels."""

    wheels: Path | None = None

    @cached_property
    def wheel(self) -> tuple[str, bytes]:
        """File name and bytes of the wheel of this package."""
        return build_wheel()

    @cached_property
    def requirements(self) -> list[str]:
        """Exact versions of all packages."""
        return pinned_requirements()[0]

    @cached_property
    def key(self) -> str:
        """Name of the environment: a hash of all that it is made from."""
        content = [PYTHON, *self.requirements, hashlib.sha256(self.wheel[1]).hexdigest()]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()[:KEY_LENGTH]

    @contextmanager
    def open_archive(self, folder: str) -> Iterator[BinaryIO]:
        """Open a tar archive of all parts, below a folder, for the machine."""
        builder = files("rosenblatt.cluster").joinpath("environment_builder.py").read_bytes()
        members = {
            f"{folder}/requirements.txt": "".join(f"{line}\n" for line in self.requirements).encode(),
            f"{folder}/{self.wheel[0]}": self.wheel[1],
            f"{folder}/environment_builder.py": builder,
        }
        with TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                for name, data in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
                for path in sorted(self.wheels.iterdir()) if self.wheels else ():
                    if path.suffix == ".whl":
                        archive.add(path, f"{folder}/wheels/{path.name}", recursive=False)
            file.seek(0)
            yield file


def prepare_environment(machine: Machine, source: EnvironmentSource, sessions: SshSessions, notify: Notify) -> str:
    """Build the environment on a machine unless it is there; returns the path of its interpreter.

    With `python=PATH` in the hosts file that interpreter is used as it is, after a comparison of versions.

    Raises:
        ClusterError: if the environment cannot be built, or differs from the one here.
    """
    host, facts = machine.host, machine.facts
    if host.python:
        compare_versions(host, host.python, sessions)
        return host.python
    folder = sessions.run(
        host, f"umask 077 && mkdir -p {_FOLDER}{source.key} && cd {_FOLDER}{source.key} && pwd"
    ).strip()
    python = f"{folder}/env/bin/python"
    if sessions.run_unchecked(host, f"test -e {shlex.quote(folder)}/complete")[0] == 0:
        return python
    start = time.monotonic()
    tool = "uv" if facts.uv else "pip"
    notify(f"{host.name}: installing {format_count(len(source.requirements) + 1, 'package')} with {tool}")
    parts = f"parts-{secrets.token_hex(4)}"  # several machines may share their home
    with source.open_archive(parts) as archive:
        sessions.run(host, f"tar -x -C {shlex.quote(folder)}", archive, TRANSFER_TIMEOUT_S)
    # uv finds or downloads an interpreter of the version
    interpreter = PYTHON if facts.uv and f"{facts.python[0]}.{facts.python[1]}" != PYTHON else ""
    builder = [facts.executable, f"{folder}/{parts}/environment_builder.py", folder, parts]
    command = shlex.join([*builder, interpreter or facts.executable, facts.uv])
    status, output, errors = sessions.run_unchecked(host, command, timeout=BUILD_TIMEOUT_S, holds_stdin=True)
    if status:
        raise ClusterError(f"{host.name}: {_explain_failure(errors or output, source)}")
    compare_versions(host, python, sessions)
    notify(f"{host.name}: environment ready after {time.monotonic() - start:.0f} s")
    return python


def compare_versions(host: Host, python: str, sessions: SshSessions) -> None:
    """Compare an environment with the one here. Raises ClusterError if code or versions differ."""
    names = sorted({canonical_name(requirement.name) for requirement in node_requirements()})
    command = shlex.join([python, "-m", "rosenblatt.cluster.versions", *names])
    status, output, errors = sessions.run_unchecked(host, command, timeout=VERSIONS_TIMEOUT_S)
    try:
        report = json.loads(output)
        sources, versions = str(report["sources"]), dict(report["packages"])
    except (ValueError, KeyError, TypeError):
        detail = (errors.strip() or f"exit status {status}").splitlines()[-1]
        raise ClusterError(f"{host.name}: Rosenblatt cannot be used with {python} ({detail}).") from None
    here = installed_versions(names)
    different = [f"{name} {versions.get(name) or 'missing'} (here {here[name]})" for name in names
                 if versions.get(name) != here[name]]  # fmt: skip
    if different:
        raise ClusterError(
            f"{host.name}: {python} has other versions: {', '.join(different)}. Install those of here, or remove "
            "python=PATH from the hosts file to build an environment."
        )
    if sources != sources_digest():
        raise ClusterError(
            f"{host.name}: {python} has other sources of Rosenblatt under the same version. Install those of here, or "
            "remove python=PATH from the hosts file to build an environment."
        )


def check_ray_version() -> None:
    """Raise ClusterError if Ray is missing or its version is not one with authentication that was tested."""
    version = installed_versions(["ray"])["ray"]
    if not version:
        raise ClusterError("Ray is not installed. Run: pip install 'rosenblatt[cluster]'")
    if not RAY_VERSIONS[0] <= tuple(map(int, version.split(".")[:2])) < RAY_VERSIONS[1]:
        raise ClusterError(
            f"Ray {version} is installed; clusters need a version from 2.59 to below 3, with authentication. "
            "Run: pip install 'rosenblatt[cluster]'"
        )


def check_wheels_folder(folder: Path) -> None:
    """Raise ClusterError if a folder of wheels does not exist or holds none."""
    if not folder.is_dir() or not any(folder.glob("*.whl")):
        raise ClusterError(f"--wheels {str(folder)!r}: expected a folder with .whl files.")


def _explain_failure(output: str, source: EnvironmentSource) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if "ensurepip" in output or "No module named venv" in output:
        return "its Python has no module venv. Install python3-venv or uv there."
    if any(problem in output.lower() for problem in _NETWORK_PROBLEMS) and not source.wheels:
        return (
            "it reaches no package index. Download the packages here with `rosenblatt cluster requirements > r.txt` "
            "and `pip download -r r.txt -d FOLDER`, and add --wheels FOLDER."
        )
    errors = [line for line in lines if line.lower().startswith(("error", "×", "╰"))] or lines[-1:]
    return f"the environment could not be built: {' '.join(errors) or 'no reason was given'}"
