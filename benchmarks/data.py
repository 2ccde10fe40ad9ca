"""Measure volumes of training data beside Lance, LitData, WebDataset, Hugging Face datasets and DVC.

    python benchmarks/data.py [--only PART,...] [--trials N] [--files N] [--samples N] [--peers PYTHON]

The parts are stream, cold, fit, first, query, add, memory, log and faults. Peers are measured in the same run by
PYTHON, an interpreter with the packages pylance, litdata, webdataset, datasets and dvc; one that it lacks is left out.
The S3 server is moto, behind a proxy in a process of its own that delays and counts.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the proxy and the servers are those of the tests

import numpy as np
import polars as pl
from common import make_parser, make_table
from data_faults import FAILURES, run_trials
from data_memory import additions
from data_peers import PEERS
from PIL import Image
from rich.console import Console

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.storage.delta_types import schema_to_delta
from rosenblatt.data.volumes.storage.log import Commit, DataFile, VolumeLog, compute_root, current_user, new_token
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.data.volumes.volume import volume
from tests.data.volumes.faulty_proxy import FaultyProxy
from tests.data.volumes.servers import BUCKET, run_moto, s3_settings

console = Console()
N_SAMPLES, SAMPLE_BYTES = 8000, 20_000
BATCH = 256
ROUNDS = 3
DELAY_SECONDS, LINK_BYTES_PER_SECOND = 0.02, 100e6
PARTS = ("stream", "cold", "fit", "first", "query", "add", "memory", "log", "faults")


def write_files(folder, n, size):
    """A folder of files, a hundred in a subfolder."""
    for k in range(n):
        if k % 100 == 0:
            (folder / f"{k // 100:05}").mkdir(parents=True)
        (folder / f"{k // 100:05}" / f"{k:07}.bin").write_bytes(random.Random(k).randbytes(size))


def add_files(name, folder):
    """Add a folder, and return the seconds."""
    started = time.perf_counter()
    add(name, str(folder), AddOptions(kind="files"), lambda _: None)
    return time.perf_counter() - started


def best_rate(run, n):
    """Samples per second, the best of some rounds after one to warm up."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return n / min(seconds)


def run_peer(python, *arguments):
    """What a peer measured; None if it is missing."""
    script = Path(__file__).with_name("data_peers.py")
    done = subprocess.run([python, str(script), *map(str, arguments)], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    record = json.loads(lines[-1]) if done.returncode == 0 and lines else {"missing": done.stderr.strip()[-200:]}
    if "missing" in record:
        console.print(f"{arguments[0]} is left out: {record['missing']}")
        return None
    return record


def stream(folder, arguments):
    """Shuffled epochs and random access from a warm page cache."""
    write_files(folder / "files", N_SAMPLES, SAMPLE_BYTES)
    name = f"{folder}/volumes/photos"
    seconds = add_files(name, folder / "files")
    opened = volume(name)
    batches = opened.batches(BATCH, seed=7)

    def epoch(materialize):
        total = 0
        for batch in batches:
            total += sum(map(len, map(materialize, batch.samples)))
        assert total == N_SAMPLES * SAMPLE_BYTES

    samples = opened.samples
    chosen = random.Random(7).choices(range(N_SAMPLES), k=200_000)
    array = np.array(chosen)
    table = make_table(
        f"{N_SAMPLES:,} samples of {SAMPLE_BYTES:,} bytes, samples per second",
        "library", "written", "shuffled epoch", "shuffle", "random access",
    )  # fmt: skip
    views, copies = (best_rate(lambda m=m: epoch(m), N_SAMPLES) for m in (memoryview, bytes))
    single = best_rate(lambda: [samples.content(k) for k in chosen], len(chosen))
    column = samples.locate(0)[0].column  # of the only metadata file
    together = best_rate(lambda: [column.take(array[k : k + BATCH]) for k in range(0, len(array), BATCH)], len(chosen))
    table.add_row("Rosenblatt, views", f"{N_SAMPLES / seconds:,.0f}", f"{views:,.0f}", "full", f"{single:,.0f}")
    table.add_row("Rosenblatt, copied bytes", "", f"{copies:,.0f}", "full", f"{together:,.0f} (by {BATCH})")
    for peer in PEERS:
        if record := run_peer(arguments.peers, peer, folder / peer, N_SAMPLES, SAMPLE_BYTES):
            access = "none" if record["access"] is None else f"{record['access']:,.0f}"
            rates = (f"{record['write']:,.0f}", f"{record['epoch']:,.0f} ({copies / record['epoch']:.1f}x)")
            table.add_row(peer, *rates, record["shuffle"], access)
    console.print(table)


def serve_link(upstream, delay, rate, pipe):
    """A proxy in a process of its own: it tells the bytes and requests that it has counted, and forgets them."""
    with FaultyProxy(upstream, delay_seconds=delay, bytes_per_second=rate) as proxy:
        pipe.send(proxy.address)
        while pipe.recv():
            pipe.send((proxy.received_bytes, len(proxy.exchanges)))
            proxy.clear()


class Link:
    """A link to an S3 server, which counts."""

    def __init__(self, pipe):
        self._pipe = pipe

    def count(self):
        """Bytes and requests since the last call."""
        self._pipe.send(True)
        return self._pipe.recv()


@contextlib.contextmanager
def s3_link(delay=0.0, rate=None):
    """An S3 server behind a proxy, in the environment of this process."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    with run_moto() as server:
        process = context.Process(target=serve_link, args=(server, delay, rate, other), daemon=True)
        process.start()
        os.environ.update(s3_settings(pipe.recv()))
        yield Link(pipe)
        pipe.send(False)
        process.join()


def cold(folder, arguments):
    """An epoch from S3 with an empty cache, beside the plain rate of the link."""
    n_samples = 2 * N_SAMPLES
    write_files(folder / "files", n_samples, SAMPLE_BYTES)
    with s3_link(DELAY_SECONDS, LINK_BYTES_PER_SECOND) as link:
        name = f"s3://{BUCKET}/cold/photos"
        add_files(name, folder / "files")
        objects = open_objects(f"s3://{BUCKET}/cold")
        paths = [info.path for info in objects.list("packs")]
        table = make_table(
            f"{n_samples:,} samples from S3, {DELAY_SECONDS * 1000:.0f} ms added to each request",
            "what", "seconds", "MB/s", "of the link", "requests",
        )  # fmt: skip
        link.count()
        started = time.perf_counter()
        with multiprocessing.pool.ThreadPool(8) as pool:
            n_bytes = sum(pool.map(lambda path: len(objects.read(path)), paths))
        plain = time.perf_counter() - started
        table.add_row(
            "packs read by 8 threads", f"{plain:.2f}", f"{n_bytes / plain / 1e6:.0f}", "", f"{link.count()[1]}"
        )
        for k in range(ROUNDS):
            os.environ["ROSENBLATT_CACHE"] = str(folder / f"cache-{k}")
            started = time.perf_counter()
            batches = volume(name).batches(BATCH, seed=k)
            first, total = None, 0
            for batch in batches:
                first = first or time.perf_counter() - started
                total += sum(map(len, batch.samples))
            seconds = time.perf_counter() - started
            assert total == n_samples * SAMPLE_BYTES
            rate = total / seconds / 1e6
            row = (f"{seconds:.2f}", f"{rate:.0f}", f"{plain / seconds:.0%}", f"{link.count()[1]}")
            table.add_row(f"cold epoch, first batch after {first:.2f} s", *row)
        console.print(table)


def write_photos(folder, n):
    """A folder of random JPEG images of about 10 KB."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(n):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / f"{k:05}.jpg", quality=90)


def read_epoch(name, memory_limit, pipe):
    """Read the images of an epoch as `fit` does, in a process of its own; sends bytes and seconds."""
    import torch  # late, as it would count as memory of other parts

    from rosenblatt.data.media.images import ImageDataset
    from rosenblatt.data.volumes.table import to_table
    from rosenblatt.training.torch.sampling import ShuffleWindows

    started = time.perf_counter()
    cells = to_table(volume(name)).frame["image"].to_list()
    images = ImageDataset(cells, 64, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3, memory_limit)
    total, rows = int(images.blocks.n_bytes.sum()), torch.arange(len(cells))[None]
    windows = ShuffleWindows(images.blocks, total // 4, torch.device("cpu"))
    keys = windows.sort_keys(torch.randint(-(2**31), 2**31, rows.shape).to(torch.int32), rows, [0])
    first = None
    for _ in images.batches(np.array_split(keys.argsort()[0].numpy(), len(cells) // BATCH)):
        first = first or time.perf_counter() - started
    pipe.send((total, first, time.perf_counter() - started))


def fit_part(folder, arguments):
    """The images of an epoch of `fit`, read from a slow bucket while it trains, or before it."""
    n_images, rate = 2 * N_SAMPLES, LINK_BYTES_PER_SECOND / 4
    write_photos(folder / "photos", n_images)
    context = multiprocessing.get_context("spawn")
    with s3_link(DELAY_SECONDS, rate) as link:
        name = f"s3://{BUCKET}/fit/photos"
        add(name, str(folder / "photos"), AddOptions(), lambda _: None)
        table = make_table(
            f"{n_images:,} images from S3, {DELAY_SECONDS * 1000:.0f} ms added to each request, {rate / 1e6:.0f} MB/s",
            "images are", "first batch (s)", "epoch (s)", "MB/s", "requests",
        )  # fmt: skip
        runs = (("kept in memory", np.inf, "a"), ("streamed", 0, "b"), ("streamed again", 0, "b"))
        for label, memory_limit, cache in runs:
            os.environ["ROSENBLATT_CACHE"] = str(folder / cache)
            pipe, other = context.Pipe()
            link.count()
            process = context.Process(target=read_epoch, args=(name, memory_limit, other))
            process.start()
            n_bytes, first, seconds = pipe.recv()
            process.join()
            figures = (f"{first:.2f}", f"{seconds:.2f}", f"{n_bytes / seconds / 1e6:.0f}")
            table.add_row(label, *figures, f"{link.count()[1]}")
        console.print(table)


def stream_all(name, pipe):
    """Stream an epoch in a process of its own; returns its seconds and the peak of its memory in GB."""
    started = time.perf_counter()
    for batch in volume(name).batches(BATCH, seed=7):
        assert batch.frame.height
    pipe.send((time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def first(folder, arguments):
    """The first batch of a volume of two million rows, and the memory of a whole epoch."""
    n = 2_000_000
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n), "label": rng.integers(0, 10, n)})
    frame.with_row_index("id").write_parquet(folder / "rows.parquet")
    name = f"{folder}/volumes/rows"
    started = time.perf_counter()
    add(name, str(folder / "rows.parquet"), AddOptions(), lambda _: None)
    added = time.perf_counter() - started
    seconds = []
    for seed in range(ROUNDS):
        started = time.perf_counter()
        batches = volume(name).batches(BATCH, seed=seed)
        with batches:
            batch = next(iter(batches))
            assert batch.frame.height == BATCH
            seconds.append(time.perf_counter() - started)
    table = make_table(f"A volume of {n:,} rows", "what", "seconds")
    table.add_row("add", f"{added:.1f}")
    table.add_row("first batch, the volume not opened before", f"{seconds[0]:.2f}")
    table.add_row("again", f"{min(seconds):.2f}")
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=stream_all, args=(name, other))
    process.start()
    epoch_seconds, peak = pipe.recv()
    process.join()
    table.add_row(f"an epoch of shuffled rows, with a peak memory of {peak:.2f} GB", f"{epoch_seconds:.1f}")
    console.print(table)


def query(folder, arguments):
    """Bytes that a query of 1 % of the samples moves from S3, metadata and log included."""
    write_files(folder / "files", N_SAMPLES, SAMPLE_BYTES)
    with s3_link() as link:
        name = f"s3://{BUCKET}/query/photos"
        add_files(name, folder / "files")
        total = N_SAMPLES * SAMPLE_BYTES
        ids = volume(name).metadata(["id"])["id"].sort()
        table = make_table("Bytes moved by a query of 1 %", "query", "samples", "of all bytes", "requests")
        low, high = ids[N_SAMPLES // 2], ids[N_SAMPLES // 2 + N_SAMPLES // 100]
        queries = {"contiguous": f"id >= '{low}' and id < '{high}'", "scattered": "@sample=0.01 @seed=7"}
        for kind, text in queries.items():
            os.environ["ROSENBLATT_CACHE"] = str(folder / f"cache-{kind}")
            link.count()
            selected = volume(name).query(text)
            batches = selected.batches(BATCH)
            n = sum(len(batch.samples) for batch in batches)
            moved, n_requests = link.count()
            table.add_row(f"{kind}: {text}", f"{n:,}", f"{moved / total:.2%}", f"{n_requests}")
        console.print(table)


def measure_add(folder, n_files):
    """Seconds to add small files, and to add them again with one changed."""
    write_files(folder / "files", n_files, 1000)
    name = f"{folder}/volumes/small"
    time.sleep(3)  # times of files that were just written are not trusted
    seconds = [add_files(name, folder / "files")]
    next((folder / "files").rglob("*.bin")).write_bytes(b"changed")
    before = sum(path.stat().st_size for path in (folder / "volumes").rglob("*") if path.is_file())
    seconds.append(add_files(name, folder / "files"))
    after = sum(path.stat().st_size for path in (folder / "volumes").rglob("*") if path.is_file())
    assert volume(name).commit.changed == 1
    return *seconds, after - before


def add_part(folder, arguments):
    """Add many small files, beside DVC."""
    table = make_table(
        "Small files of 1,000 bytes", "what", "files", "add, s", "again with one changed, s", "written, MB"
    )
    sizes = sorted({min(20_000, arguments.files), arguments.files})
    for n in sizes:
        first, again, written = measure_add(folder / f"own-{n}", n)
        table.add_row("Rosenblatt", f"{n:,}", f"{first:.1f}", f"{again:.2f}", f"{written / 1e6:.2f}")
        shutil.rmtree(folder / f"own-{n}")
    n = sizes[-1]
    write_files(folder / "files", n, 1000)
    environment = Path(arguments.peers).parent
    os.environ["PATH"] = f"{environment}:{os.environ['PATH']}"
    if record := run_peer(arguments.peers, "dvc", folder / "dvc", folder / "files"):
        table.add_row("DVC", f"{n:,}", f"{record['add']:.1f}", f"{record['again']:.2f}", "")
    console.print(table)


def memory(folder, arguments):
    """Peak memory of additions to volumes of many samples."""
    table = make_table("Additions, each in a process of its own", "volume", "samples", "s", "peak memory, GB")
    for n, what, (seconds, peak) in additions(folder, arguments.samples):
        table.add_row(what, f"{n:,}", f"{seconds:.1f}", f"{peak:.2f}")
    console.print(table)


def log(folder, arguments):
    """Open a volume whose log names 100,000 metadata files."""
    n = 100_000
    schema = pl.Schema({"id": pl.Int64, "x": pl.Float64})
    address = parse_address(f"{folder}/volumes/many")
    files = [
        DataFile(f"data/{k:08}-{k:064x}.parquet", 1_000_000, 65_536,
                 {"minValues": {"id": 65_536 * k}, "maxValues": {"id": 65_536 * (k + 1) - 1}, "nullCount": {"id": 0}})
        for k in range(n)
    ]  # fmt: skip
    frame = pl.DataFrame(
        {"path": [f.path for f in files], "size": [f.size for f in files], "rows": [f.rows for f in files]}
    )
    assert schema_to_delta(schema)
    volume_log = VolumeLog(address.objects, address.name)
    volume_log.create(schema)
    commit = Commit(
        version=1, root=compute_root(schema, frame), token=new_token(), who=current_user(), created=time.time(),
        kind="table", id_origin="column", n_samples=65_536 * n,
    )  # fmt: skip
    volume_log.commit(commit, schema, files, [])
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        assert len(VolumeLog(address.objects, address.name).open().data_files) == n
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    table = make_table(f"A log of {n:,} metadata files ({65_536 * n:,} samples)", "what", "result")
    table.add_row("open, best of three", f"{min(seconds):.2f} s")
    table.add_row("peak memory of this process so far", f"{peak:.2f} GB")
    console.print(table)


def faults(folder, arguments):
    """Trials under faults."""
    table = make_table("Trials under faults", "fault", "trials", "faults", "errors raised", *FAILURES)
    examples = []
    for trials in run_trials(arguments.trials):
        console.print(f"{trials.kind}: {dict(trials.failures)}")
        table.add_row(*trials.row())
        examples += [f"{trials.kind}: {example}" for example in trials.examples[:3]]
    console.print(table)
    for example in examples:
        console.print(example)


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run")
    parser.add_argument("--trials", type=int, default=1000, help="trials of each kind of fault")
    parser.add_argument("--files", type=int, default=200_000, help="files of the part add")
    parser.add_argument("--samples", type=int, default=5_000_000, help="samples of the part memory")
    parser.add_argument("--peers", default=sys.executable, help="Python interpreter that has the peers")
    arguments = parser.parse_args()
    measures = {
        "stream": stream, "cold": cold, "fit": fit_part, "first": first, "query": query, "add": add_part,
        "memory": memory, "log": log, "faults": faults,
    }  # fmt: skip
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory(prefix=f"rosenblatt-{name}-") as folder:
            os.environ["ROSENBLATT_CACHE"] = f"{folder}/cache"
            os.environ["ROSENBLATT_VOLUMES"] = f"{folder}/volumes"
            console.print(f"{name}, load {os.getloadavg()[0]:.1f} at its start")
            measures[name](Path(folder), arguments)


if __name__ == "__main__":
    main()
