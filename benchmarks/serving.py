"""Measure `rosenblatt serve` beside MLflow's server and BentoML: the same model, clients and rows for all.

    python benchmarks/serving.py [--seconds 5] [--rounds 3] [--bentoml PYTHON] [--memory-requests 100000] [--only PART]

The model predicts a class from 6 numbers and 8 categories. 16 clients, in a process of their own, keep a connection
each and send a row at a time, as JSON, the next one when the answer has come. The servers share all cores with the
clients, run one after another, and take turns in each round. MLflow (its default server, FastAPI) and BentoML call
`Model.predict_proba` on a frame of the rows. BentoML needs a Python with BentoML and Rosenblatt (`--bentoml`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
import polars as pl
import psutil
from common import make_parser, make_table
from rich.console import Console

from rosenblatt import MLPClassifier, load_model

CLIENTS = 16
BULK_ROWS = 10_000
BULK_ROUNDS = 15
START_ROUNDS = 5
ARROW = "application/vnd.apache.arrow.stream"
BENTO_SERVICE = """
import bentoml, polars as pl
from rosenblatt import load_model

@bentoml.service(workers=1, metrics={{"enabled": False}}, logging={{"access": {{"enabled": False}}}})
class People:
    def __init__(self):
        self.model = load_model({path!r})

    @bentoml.api
    def predict(self, rows: list[dict]) -> list[list[float]]:
        return self.model.predict_proba(pl.DataFrame(rows)).tolist()
"""


def make_people(n: int) -> pl.DataFrame:
    """Rows of 6 numbers and 8 categories, and a class that depends on some of them."""
    rng = np.random.default_rng(0)
    columns = {f"number {k}": rng.lognormal(3, 1, n).round(3) for k in range(6)}
    columns |= {f"category {k}": rng.choice([f"value {v}" for v in range(4 + k)], n) for k in range(8)}
    score = np.log(columns["number 0"]) + (columns["category 0"] == "value 1")
    return pl.DataFrame(columns).with_columns(income=pl.Series(np.where(score > 3.2, "high", "low")))


def fit_model(folder: Path) -> Path:
    """A model of three networks, in a file."""
    people = make_people(5000)
    model = MLPClassifier(members=3, epochs=3, random_state=0).fit(people.drop("income"), people["income"])
    model.save(folder / "people.rosenblatt")
    return folder / "people.rosenblatt"


def free_port() -> int:
    """A port that is free at the moment."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(command: list[str], ready_url: str, cwd: Path) -> Iterator[psutil.Process]:
    """A server, from when it answers at a URL."""
    with (cwd / "server.log").open("ab") as log:
        programs = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])  # MLflow starts uvicorn by name
        process = subprocess.Popen(
            command, cwd=cwd, stdout=log, stderr=log, start_new_session=True, env=os.environ | {"PATH": programs}
        )
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(ready_url, timeout=5).close()
                break
            except (URLError, OSError):
                if process.poll() is not None:
                    sys.exit(f"{command[:4]} ended: {(cwd / 'server.log').read_text()[-2000:]}")
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


class Peer:
    """A server: how it is started, and what a request of rows is."""

    def __init__(self, name: str, command: list[str], path: str, key: str, ready: str) -> None:
        self.name, self.command, self.path, self.key, self.ready = name, command, path, key, ready

    def request(self, rows: list[dict], port: int) -> bytes:
        """A whole request of HTTP."""
        body = json.dumps({self.key: rows}).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def make_peers(path: Path, folder: Path, bentoml: str | None) -> list[Peer]:
    """All servers; {port} stands for their port."""
    python = sys.executable
    serve = [python, "-m", "rosenblatt", "serve", str(path), "--port", "{port}"]
    peers = [
        Peer("Rosenblatt", [*serve, "--log", "none"], "/predict", "rows", "/readyz"),
        Peer("Rosenblatt, JSON log", [*serve, "--log", "json"], "/predict", "rows", "/readyz"),
        Peer("MLflow", [python, "-m", "mlflow", "models", "serve", "-m", str(save_mlflow(path, folder)), "--port",
                        "{port}", "--env-manager", "local"], "/invocations", "dataframe_records", "/ping"),
    ]  # fmt: skip
    if bentoml:
        (folder / "service.py").write_text(BENTO_SERVICE.format(path=str(path)))
        command = [bentoml, "-m", "bentoml", "serve", "service:People", "--port", "{port}"]
        peers.append(Peer("BentoML", command, "/predict", "rows", "/readyz"))
    return peers


def save_mlflow(path: Path, folder: Path) -> Path:
    """Our model, as a pyfunc of MLflow."""
    import mlflow

    class Wrapped(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            from rosenblatt import load_model

            self.model = load_model(context.artifacts["model"])

        def predict(self, context, model_input, params=None):
            return self.model.predict_proba(model_input)

    target = folder / "mlflow"
    mlflow.pyfunc.save_model(str(target), python_model=Wrapped(), artifacts={"model": str(path)}, pip_requirements=[])
    return target


async def send_requests(port: int, requests: list[bytes], seconds: float, count: int) -> dict[str, float]:
    """Send requests by `CLIENTS` connections, for some seconds or until a count; returns rates and times."""
    times, end = list[float](), time.perf_counter() + seconds

    async def client(k: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (count and len(times) < count) or (not count and time.perf_counter() < end):
            start = time.perf_counter()
            writer.write(requests[(k + len(times)) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            await reader.readexactly(int(lower.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            assert head.startswith(b"HTTP/1.1 200"), head
            times.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client(k) for k in range(CLIENTS)))
    milliseconds = 1000 * np.array(times)
    return {
        "requests_per_second": len(times) / (time.perf_counter() - start),
        "p50_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
    }


def run_clients(peer: Peer, port: int, seconds: float, count: int = 0) -> dict[str, float]:
    """Run the clients in a process of their own."""
    command = [sys.executable, __file__, "--clients", json.dumps([peer.path, peer.key, port, seconds, count])]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def clients(argument: str) -> None:
    """What the process of the clients does."""
    path, key, port, seconds, count = json.loads(argument)
    peer = Peer("", [], path, key, "")
    rows = make_people(256).drop("income").to_dicts()
    requests = [peer.request([row], port) for row in rows]
    asyncio.run(send_requests(port, requests, 1.0, 0))  # not measured
    print(json.dumps(asyncio.run(send_requests(port, requests, seconds, count))))


def measure_requests(peers: list[Peer], folder: Path, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Requests of one row: the medians over the rounds, with the load of the machine."""
    results: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            port = free_port()
            command = [part.format(port=port) for part in peer.command]
            with running(command, f"http://127.0.0.1:{port}{peer.ready}", folder):
                results[peer.name].append(run_clients(peer, port, seconds) | {"load": os.getloadavg()[0]})
            print(peer.name, results[peer.name][-1], file=sys.stderr)
    return {name: {key: float(np.median([r[key] for r in runs])) for key in runs[0]} for name, runs in results.items()}


def measure_memory(peer: Peer, folder: Path, count: int) -> dict[str, float]:
    """Megabytes of our server after a hundredth of the requests, and after all."""
    port = free_port()
    command = [part.format(port=port) for part in peer.command]
    with running(command, f"http://127.0.0.1:{port}{peer.ready}", folder) as process:
        megabytes = []
        for n in (count // 100, count // 2, count // 2):
            run_clients(peer, port, 0, n)
            megabytes.append(process.memory_info().rss / 1e6)
    return {"requests": count, "mb_at_1_percent": megabytes[0], "mb_at_half": megabytes[1], "mb_at_end": megabytes[2]}


def measure_bulk(peer: Peer, path: Path, folder: Path) -> dict[str, float]:
    """Milliseconds for `BULK_ROWS` rows: in process, as Arrow, and as JSON by column; medians of alternating rounds."""
    rows, model, port = make_people(BULK_ROWS).drop("income"), load_model(path), free_port()
    stream = BytesIO()
    rows.write_ipc_stream(stream)
    arrow, columns = stream.getvalue(), json.dumps({"columns": rows.to_dict(as_series=False)}).encode()
    times: dict[str, list[float]] = {"in_process_ms": [], "arrow_ms": [], "json_columns_ms": []}

    def post(body: bytes, content_type: str) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", body, {"Content-Type": content_type, "Accept": content_type}
        )
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    calls = {
        "in_process_ms": lambda: model.predict_raw(rows),
        "arrow_ms": lambda: post(arrow, ARROW),
        "json_columns_ms": lambda: post(columns, "application/json"),
    }
    with running([part.format(port=port) for part in peer.command], f"http://127.0.0.1:{port}{peer.ready}", folder):
        answer = pl.read_ipc_stream(calls["arrow_ms"]())
        np.testing.assert_array_equal(answer["probability of high"], model.predict_raw(rows)[:, 0])
        for _ in range(BULK_ROUNDS):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def measure_start(path: Path) -> dict[str, float]:
    """Seconds from the start of the command to its line, and how many the processor worked; the best of some rounds."""
    seconds, processor = [], []
    for _ in range(START_ROUNDS):
        command = [sys.executable, "-m", "rosenblatt", "serve", str(path), "--port", "0", "--json"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        seconds.append(time.perf_counter() - start)
        processor.append(sum(psutil.Process(process.pid).cpu_times()[:2]))
        process.terminate()
        process.communicate()
    return {"seconds": min(seconds), "processor_seconds": min(processor)}


def main() -> None:
    """Measure everything, and print it."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds that clients send requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bentoml", metavar="PYTHON", help="Python with BentoML and Rosenblatt")
    parser.add_argument("--memory-requests", type=int, default=100_000)
    parser.add_argument("--only", choices=["requests", "bulk", "start", "memory"])
    parser.add_argument("--clients", help="used by this script")
    arguments = parser.parse_args()
    if arguments.clients:
        clients(arguments.clients)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = fit_model(folder)
        peers = make_peers(path, folder, arguments.bentoml) if arguments.only in (None, "requests") else []
        ours = Peer("Rosenblatt", [sys.executable, "-m", "rosenblatt", "serve", str(path), "--port", "{port}", "--log",
                                   "none"], "/predict", "rows", "/readyz")  # fmt: skip
        parts = {
            "start": lambda: measure_start(path),
            "bulk": lambda: measure_bulk(ours, path, folder),
            "requests": lambda: measure_requests(peers, folder, arguments.seconds, arguments.rounds),
            "memory": lambda: measure_memory(ours, folder, arguments.memory_requests),
        }
        results = {name: part() for name, part in parts.items() if arguments.only in (None, name)}
    if arguments.json:
        print(json.dumps(results | {"load": os.getloadavg()}, indent=2))
        return
    console = Console()
    for part, result in results.items():
        if part == "requests":
            table = make_table(part, "server", *next(iter(result.values())))
            for server, values in result.items():
                table.add_row(server, *(f"{value:,.1f}" for value in values.values()))
            console.print(table)
        else:
            console.print(part, {key: round(value, 2) for key, value in result.items()})


if __name__ == "__main__":
    main()
