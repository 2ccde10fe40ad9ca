"""Memory of additions to volumes of millions of samples, which are written as metadata only."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.columns import BYTES_SCHEMA
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.storage.log import Commit, VolumeLog, compute_root, current_user, new_token
from rosenblatt.data.volumes.storage.metadata_files import MAX_FILE_ROWS, MetadataFiles

SAMPLE_BYTES, PACK_SAMPLES = 20_000, 1600
N_APPENDED = 1000


def table_rows(first, n):
    """Rows of a table with an identity of 21 characters."""
    return _table(pl.int_range(first, first + n, eager=True))


def _table(numbers):
    k = pl.col("k")
    return pl.DataFrame({"k": numbers}).select(
        id=pl.format("images/{}.jpg", k.cast(pl.String).str.zfill(10)), x=k / 7, label=k % 10
    )


def file_rows(first, n):
    """Rows of files, whose packs do not exist."""
    k = pl.col("k")
    return pl.select(k=pl.int_range(first, first + n)).select(
        id=pl.format("files/{}.bin", k.cast(pl.String).str.zfill(10)),
        pack=_hex(k // PACK_SAMPLES, 100), offset=k % PACK_SAMPLES * SAMPLE_BYTES, length=SAMPLE_BYTES, hash=_hex(k, 0),
    ).cast(BYTES_SCHEMA)  # fmt: skip


def _hex(numbers, seed):
    """64 hexadecimal digits by a number."""
    parts = [numbers.hash(seed + part).cast(pl.String).str.zfill(20).str.slice(4) for part in range(4)]
    return pl.concat_str(parts)


def write_volume(name, kind, rows, n):
    """Commit a volume of about n samples, in full files; returns their number."""
    address = parse_address(name)
    files, log = MetadataFiles(address.objects, address.name), VolumeLog(address.objects, address.name)
    schema = rows(0, 1).schema
    data_files = [files.write(k, rows(k * MAX_FILE_ROWS, MAX_FILE_ROWS)) for k in range(n // MAX_FILE_ROWS)]
    frame = pl.DataFrame(
        {
            "path": [f.path for f in data_files],
            "size": [f.size for f in data_files],
            "rows": [f.rows for f in data_files],
        }
    )
    n = int(frame["rows"].sum())
    log.create(schema)
    commit = Commit(
        version=1, root=compute_root(schema, frame), token=new_token(), who=current_user(), created=time.time(),
        kind=kind, id_origin="column" if kind == "table" else "path", n_samples=n,
        n_bytes=0 if kind == "table" else n * SAMPLE_BYTES,
    )  # fmt: skip
    log.commit(commit, schema, data_files, [])
    return n


def write_parquet_files(folder, numbers, changed):
    """Rows of the volume by their numbers in a folder of Parquet files, with some of them changed."""
    folder.mkdir()
    for k, part in enumerate(pl.DataFrame({"k": numbers}).iter_slices(MAX_FILE_ROWS)):
        rows = _table(part["k"]).with_columns(label=pl.when(changed).then(-1).otherwise("label"))
        rows.write_parquet(folder / f"{k:06}.parquet")


def peak_memory():
    """The peak of the memory of this process in GB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells includes the process that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(name, path, **options):
    """Add in a process of its own, without other libraries: seconds, and peak memory in GB."""
    command = [sys.executable, __file__, name, str(path), json.dumps(options)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def additions(folder, n):
    """Measure additions to a table and to a volume of files: their description and what `measure` returns."""
    table, files = f"{folder}/volumes/rows", f"{folder}/volumes/files"
    n = write_volume(table, "table", table_rows, n)
    table_rows(n, N_APPENDED).write_parquet(folder / "more.parquet")
    yield n, "table: 1,000 rows appended", measure(table, folder / "more.parquet", append=True)
    numbers, one = pl.int_range(n, eager=True), pl.col("x") == 1
    for label, order, changed in (
        ("one changed", numbers, one),
        ("one changed, in random order", numbers.shuffle(seed=0), one),
        ("all changed", numbers, pl.lit(value=True)),
    ):
        write_parquet_files(folder / label, order, changed)
        yield n, f"table: added again, {label}", measure(table, folder / label)
        shutil.rmtree(folder / label)
    write_volume(files, "files", file_rows, n)
    source = folder / "source"
    source.mkdir()
    for k in range(N_APPENDED):
        (source / f"{k:04}.bin").write_bytes(f"{k}".encode())
    yield n, "files: 1,000 files appended", measure(files, source, append=True, kind="files")


def add_and_report(name, path, options):
    """Add in this process, and print the seconds and the peak of its memory."""
    started = time.perf_counter()
    add(name, path, AddOptions(**json.loads(options)), lambda _: None)
    print(json.dumps((time.perf_counter() - started, peak_memory())))


if __name__ == "__main__":
    add_and_report(*sys.argv[1:])
