"""How long `rosenblatt cluster up` takes on bare machines: the part `up` of cluster.py."""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.up import UpOptions, bring_up, take_down
from tests.cluster.machines import Machine, machines

DISK = "6g"  # of each machine, in memory: an environment with PyTorch takes 1.5 GB


class PackageIndex(SimpleHTTPRequestHandler):
    """A package index over a folder of wheels."""

    def do_GET(self) -> None:
        match = re.fullmatch(r"/simple/([^/]+)/?", self.path)
        if not match:
            super().do_GET()
            return
        wheels = [path.name for path in Path(self.directory).iterdir() if _package(path.name) == match[1]]
        links = "".join(f'<a href="/{html.escape(name)}">{html.escape(name)}</a>' for name in wheels)
        self.send_response(200 if wheels else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(links.encode())

    def log_message(self, *_: object) -> None:
        pass


def _package(file_name: str) -> str:
    return re.sub(r"[-_.]+", "-", file_name.partition("-")[0]).lower()


@contextmanager
def serve(folder: Path, address: str) -> Iterator[str]:
    server = ThreadingHTTPServer((address, 0), partial(PackageIndex, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()


def prepare(machine: Machine, index: str, uv: str) -> None:
    """Give a machine the index and, optionally, uv."""
    host = urlsplit(index).hostname
    pip_settings = f"[global]\nindex-url = {index}\ntrusted-host = {host}\n"
    machine.run("rm -rf ~/.cache/pip ~/.cache/uv ~/.cache/rosenblatt; mkdir -p ~/.config/pip ~/.config/uv ~/.local/bin")
    machine.run(
        f"printf '{pip_settings}' > ~/.config/pip/pip.conf; echo 'index-url = \"{index}\"' > ~/.config/uv/uv.toml"
    )
    if uv:
        shutil.copy(uv, f"/proc/{machine.init}/root{Path.home()}/.local/bin/uv")


def measure_up(wheels: Path, n_machines: int) -> dict[str, float | str]:
    """Bring a cluster up with a cold package cache, with a warm one, and with the environments in place."""
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
    uv = shutil.which("uv") or ""
    seconds: dict[str, float | str] = {"tool": "uv" if uv else "pip", "machines": n_machines}
    with machines(n_machines, disk=DISK) as rig, serve(wheels, f"{rig[0].address.rpartition('.')[0]}.254") as index:
        hosts = Path(tempfile.mkdtemp()) / "hosts.txt"
        hosts.write_text("".join(f"{machine.address} cores=1\n" for machine in rig))
        for machine in rig:
            prepare(machine, index, uv)
        for state in ("cold cache", "warm cache", "environment in place"):
            if state == "warm cache":
                for machine in rig:
                    machine.run("rm -rf ~/.cache/rosenblatt")
            start = time.perf_counter()
            record = bring_up(read_hosts(hosts), UpOptions("benchmark"), partial(print, file=sys.stderr))
            seconds[f"{state} s"] = time.perf_counter() - start
            start = time.perf_counter()
            take_down(record, print)
            seconds["down s"] = time.perf_counter() - start
    return seconds
