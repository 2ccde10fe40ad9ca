"""Points that programs record over HTTP in the store of a dashboard, which is killed and started again meanwhile.

    python benchmarks/dashboard_recording.py [--clients 8] [--points 20000] [--kills 3] [--json]

Each client is a process with a run of its own that logs points of two metrics as fast as it can, then ends its run. The
rate is all `log` calls divided by the time until all points are in the store: from the first call to the last end of a
run. Points in the store are compared with those that were logged, in a run with kills and in one without. The store is
a SQLite file; clients, server and database share the cores of the machine.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from common import make_parser

from rosenblatt.runs.store.queries import find_runs, load_all_curves
from rosenblatt.runs.store.store import Store

CLIENT = """
import sys, rosenblatt
number, points = int(sys.argv[1]), int(sys.argv[2])
with rosenblatt.track("recording", name=f"client-{number}") as run:
    for step in range(points):
        run.log({"loss": float(step), "auc": 1.0 / (step + 1)}, step)
"""
TOKEN = "token-of-the-benchmark"
PAUSE_S = 1.0  # between two kills of the server, and until it is started again


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the command, and wait until it answers."""
    (folder / "token").write_text(TOKEN)
    command = [sys.executable, "-m", "rosenblatt", "ui", "--store", str(folder / "runs.db"), "--port", str(port)]
    command += ["--no-open", "--token-file", str(folder / "token")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/static/login.js").close()
        except URLError:
            time.sleep(0.02)
        else:
            return server


def measure(n_clients: int, n_points: int, n_kills: int) -> dict[str, Any]:
    """Record with all clients; the rate, and the points that are missing in the store."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        Store(f"sqlite:///{folder}/runs.db").close()
        server = start_server(folder, port)
        environment = os.environ | {"ROSENBLATT_STORE": f"http://127.0.0.1:{port}", "ROSENBLATT_SPOOL": f"{name}/spool"}
        environment["ROSENBLATT_TOKEN"] = TOKEN
        started = time.perf_counter()
        clients = [
            subprocess.Popen([sys.executable, "-c", CLIENT, str(number), str(n_points)], env=environment, cwd=folder)
            for number in range(n_clients)
        ]
        for _ in range(n_kills):
            time.sleep(PAUSE_S)
            server.kill()
            server.wait()
            time.sleep(PAUSE_S)
            server = start_server(folder, port)
        for client in clients:
            client.wait()
        seconds = time.perf_counter() - started
        subprocess.run([sys.executable, "-c", CLIENT, "-1", "1"], env=environment, cwd=folder, check=True)  # delivers
        server.kill()
        server.wait()
        with closing(Store(f"sqlite:///{folder}/runs.db")) as store:
            runs = [run for run in find_runs(store) if run.name != "client--1"]
            curves = [load_all_curves(store, run.id) for run in runs]
    expected = np.arange(n_points)
    is_complete = [np.array_equal(curve["loss"].values, expected) for curve in curves]
    return {
        "clients": n_clients,
        "kills": n_kills,
        "log calls": n_clients * n_points,
        "seconds with start of the clients": seconds,
        "log calls a second": n_clients * n_points / seconds,
        "runs with all points": sum(is_complete),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure without and with kills, and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--points", type=int, default=20_000, help="of each client")
    parser.add_argument("--kills", type=int, default=3, help="of the server, in the second run")
    options = parser.parse_args()
    results = [measure(options.clients, options.points, kills) for kills in (0, options.kills)]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print(", ".join(f"{name}: {value:,.6g}" for name, value in result.items()))


if __name__ == "__main__":
    main()
