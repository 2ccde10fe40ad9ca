"""Peers of `benchmarks/data.py`: other libraries that store and stream samples, each with the settings that suit it.

    python benchmarks/data_peers.py NAME FOLDER N_SAMPLES SAMPLE_BYTES

It prints one line of JSON: samples written per second, and samples per second of a shuffled epoch and of random access
from a warm page cache. It runs in an interpreter of its own, because the packages of some peers conflict with others.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
import time
from pathlib import Path

BATCH = 256
ROUNDS = 3


def make_samples(n, size):
    """Deterministic samples."""
    return [random.Random(k).randbytes(size) for k in range(n)]


def rate(run, n):
    """Samples per second, the best of some rounds after one to warm up."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return n / min(seconds)


def count_bytes(samples, n, size):
    """Iterate over samples, and check that all arrived."""
    total = sum(len(sample) for sample in samples)
    assert total == n * size, f"{total} bytes instead of {n * size}"


def indices(n, count):
    return random.Random(7).choices(range(n), k=count)


def measure_lance(folder, samples, size):
    """Lance: random rows are taken in batches, which it does in parallel."""
    import lance
    import pyarrow as pa

    n, path = len(samples), str(folder / "data.lance")
    started = time.perf_counter()
    lance.write_dataset(pa.table({"data": pa.array(samples, pa.large_binary())}), path, data_storage_version="stable")
    written = n / (time.perf_counter() - started)
    dataset = lance.dataset(path)

    def epoch():
        order = list(range(n))
        random.Random(0).shuffle(order)
        count_bytes(
            (value for k in range(0, n, BATCH) for value in dataset.take(order[k : k + BATCH])["data"].to_pylist()),
            n, size,
        )  # fmt: skip

    chosen = indices(n, 4096)

    def access():
        for k in range(0, len(chosen), BATCH):
            dataset.take(chosen[k : k + BATCH])["data"].to_pylist()

    return {"write": written, "epoch": rate(epoch, n), "access": rate(access, len(chosen)), "shuffle": "full"}


def measure_litdata(folder, samples, size):
    """LitData: its own shuffle of chunks and of the samples in them."""
    from litdata import StreamingDataset
    from litdata.streaming.cache import Cache

    n = len(samples)
    started = time.perf_counter()
    cache = Cache(str(folder), chunk_bytes="64MB")
    for k, sample in enumerate(samples):
        cache[k] = sample
    cache.done()
    cache.merge()
    written = n / (time.perf_counter() - started)
    dataset = StreamingDataset(str(folder), shuffle=True, seed=0)
    by_index = StreamingDataset(str(folder), shuffle=False)
    chosen = indices(n, 512)
    return {
        "write": written,
        "epoch": rate(lambda: count_bytes(dataset, n, size), n),
        "access": rate(lambda: [by_index[k] for k in chosen], len(chosen)),
        "shuffle": "full within chunks",
    }


def measure_webdataset(folder, samples, size):
    """WebDataset: shards of 64 MB, and a shuffle buffer of a thousand samples; it has no random access."""
    import webdataset

    n, per_shard = len(samples), max(1, (64 << 20) // size)
    started = time.perf_counter()
    paths = []
    for first in range(0, n, per_shard):
        paths.append(str(folder / f"{first:08}.tar"))
        with tarfile.open(paths[-1], "w") as archive:
            for k in range(first, min(first + per_shard, n)):
                info = tarfile.TarInfo(f"{k:08}.bin")
                info.size = size
                archive.addfile(info, io.BytesIO(samples[k]))
    written = n / (time.perf_counter() - started)

    def epoch():
        dataset = webdataset.WebDataset(paths, shardshuffle=len(paths), seed=0).shuffle(1000)
        count_bytes((sample["bin"] for sample in dataset), n, size)

    return {"write": written, "epoch": rate(epoch, n), "access": None, "shuffle": "buffer of 1,000"}


def measure_datasets(folder, samples, size):
    """Hugging Face datasets: Arrow on disk, shuffled by an index, read in batches."""
    import pyarrow as pa
    from datasets import Dataset, Features, Value, load_from_disk

    n = len(samples)
    started = time.perf_counter()
    table = pa.table({"data": pa.array(samples, pa.large_binary())})
    Dataset(table, fingerprint="peer").cast(Features({"data": Value("large_binary")})).save_to_disk(
        str(folder / "data")
    )
    written = n / (time.perf_counter() - started)
    dataset = load_from_disk(str(folder / "data"))

    def epoch():
        shuffled = dataset.shuffle(seed=0, keep_in_memory=True)
        count_bytes((value for batch in shuffled.iter(BATCH) for value in batch["data"]), n, size)

    chosen = indices(n, 4096)

    def access():
        for k in range(0, len(chosen), BATCH):
            dataset[chosen[k : k + BATCH]]["data"]

    return {"write": written, "epoch": rate(epoch, n), "access": rate(access, len(chosen)), "shuffle": "full"}


def measure_dvc(folder, source):
    """DVC: seconds to add a folder, and to add it again with one file changed; hashing in all threads it wants."""
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    subprocess.run(["dvc", "config", "core.analytics", "false"], cwd=folder, check=True)
    subprocess.run(["dvc", "config", "cache.type", "reflink,hardlink,symlink,copy"], cwd=folder, check=True)
    source.rename(folder / "files")
    seconds = []
    for change in (False, True):
        if change:
            path = next((folder / "files").rglob("*.bin"))
            path.unlink()
            path.write_bytes(b"changed")
        started = time.perf_counter()
        subprocess.run(["dvc", "add", "-q", "files"], cwd=folder, check=True)
        seconds.append(time.perf_counter() - started)
    return {"add": seconds[0], "again": seconds[1]}


PEERS = {
    "lance": measure_lance,
    "litdata": measure_litdata,
    "webdataset": measure_webdataset,
    "datasets": measure_datasets,
}


if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if name == "dvc":
            record = measure_dvc(folder, Path(sys.argv[3]))
        else:
            n_samples, sample_bytes = int(sys.argv[3]), int(sys.argv[4])
            record = PEERS[name](folder, make_samples(n_samples, sample_bytes), sample_bytes)
    except (ImportError, FileNotFoundError) as error:
        record = {"missing": str(error)}
    print(json.dumps(record))
