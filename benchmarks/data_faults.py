"""Trials of `benchmarks/data.py`: volumes under flipped bits, cut downloads, 503s, lost answers and killed processes.

Each trial adds data to a volume or reads one, injects faults at a random moment, and then looks at what is left without
faults. An error that is raised is no failure: what counts is whether wrong bytes were handed out, acknowledged data was
lost, a lock stayed, or a commit did not land exactly once.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the proxy and the servers are those of the tests

from tests.data.volumes.faulty_proxy import Action, FaultyProxy
from tests.data.volumes.servers import BUCKET, run_moto, s3_settings

N_SAMPLES, SAMPLE_BYTES = 24, 4000
PACK_BYTES = 16_000
LOCK_SECONDS = 10.0  # in which an operation has to go on after a process was killed
FAILURES = ("wrong data", "acknowledged lost", "orphan locks", "commits not exactly once")
GETS = {"method": "GET"}
WRITES = {"method": "PUT|POST|DELETE"}


def write_samples(folder, seed):
    """Write a folder of samples, some of which are the same for all seeds; returns their bytes by name."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for k in range(N_SAMPLES):
        contents[f"{k:03}.bin"] = random.Random(f"{k} {seed if k % 3 else 0}").randbytes(SAMPLE_BYTES)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents


def prepare(cache):
    """Let packs be small and waits short in this process, and name its cache."""
    from rosenblatt.data.volumes.storage import buckets, markers, packs

    packs.TARGET_PACK_BYTES = PACK_BYTES
    markers.POLL_SECONDS = 0.05
    buckets.BACKOFF["init_backoff"] = buckets.timedelta(milliseconds=2)
    buckets.BACKOFF["max_backoff"] = buckets.timedelta(milliseconds=20)
    os.environ["ROSENBLATT_CACHE"] = str(cache)
    os.environ["ROSENBLATT_VOLUMES"] = str(cache) + "-volumes"


def add_samples(name, folder):
    """Add a folder; returns the number of the version that was acknowledged."""
    from rosenblatt.data.volumes.add import AddOptions, add

    return add(name, str(folder), AddOptions(kind="files"), lambda _: None).commit.version


def read_samples(name):
    """All samples of a version by name, as training gets them."""
    from rosenblatt.data.volumes.volume import volume

    samples = {}
    for batch in volume(name).batches(8, seed=7):
        samples |= zip(batch.frame["id"], map(bytes, batch.samples), strict=True)
    return samples


class Trials:
    """Counts of one kind of fault."""

    def __init__(self, kind):
        self.kind, self.n, self.n_errors, self.n_faults = kind, 0, 0, 0
        self.failures = Counter(dict.fromkeys(FAILURES, 0))
        self.examples = []

    def fail(self, failure, text):
        self.failures[failure] += 1
        self.examples.append(f"{failure}: {text}")

    def row(self):
        return (
            self.kind,
            f"{self.n:,}",
            f"{self.n_faults:,}",
            f"{self.n_errors:,}",
            *(str(self.failures[f]) for f in FAILURES),
        )


@contextlib.contextmanager
def work_folder():
    with tempfile.TemporaryDirectory(prefix="rosenblatt-faults-") as folder:
        yield Path(folder)


def library_errors():
    from rosenblatt.errors import RosenblattError

    return RosenblattError


def reads_under(kind, action, n, seed):
    """Read a volume of S3 with an empty cache while one answer is damaged or cut."""
    trials, rng = Trials(kind), random.Random(seed)
    with work_folder() as folder, run_moto() as server, FaultyProxy(server, seed=seed) as proxy:
        prepare(folder / "cache")
        os.environ.update(s3_settings(proxy.address))
        contents = write_samples(folder / "samples", 0)
        name = f"s3://{BUCKET}/reads/photos"
        add_samples(name, folder / "samples")
        proxy.clear()
        read_samples(name)
        n_requests = proxy.count("GET")
        for trial in range(n):
            os.environ["ROSENBLATT_CACHE"] = str(folder / f"cache-{trial}")
            proxy.clear()
            fault = proxy.inject(action, skip=rng.randrange(n_requests), count=1, **GETS)
            trials.n += 1
            try:
                samples = read_samples(name)
            except library_errors():
                trials.n_errors += 1
            else:
                if samples != contents:
                    trials.fail("wrong data", str(fault))
            trials.n_faults += fault.hits
            shutil.rmtree(folder / f"cache-{trial}", ignore_errors=True)
        proxy.clear()
        if read_samples(name) != contents:
            trials.fail("acknowledged lost", "at the end")
    return trials


def stored_damage(n, seed):
    """Flip a bit of a stored pack or metadata file: it must be noticed, or not matter."""
    trials, rng = Trials("one flipped byte, stored"), random.Random(seed)
    with work_folder() as folder:
        prepare(folder / "cache")
        contents = write_samples(folder / "samples", 0)
        name = f"{folder}/volumes/photos"
        add_samples(name, folder / "samples")
        paths = [*Path(folder, "volumes").rglob("*.tar"), *Path(folder, "volumes").rglob("*.parquet")]
        for _ in range(n):
            path = rng.choice(paths)
            content = path.read_bytes()
            damaged = bytearray(content)
            damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            trials.n, trials.n_faults = trials.n + 1, trials.n_faults + 1
            try:
                if read_samples(name) != contents:
                    trials.fail("wrong data", str(path))
            except library_errors():
                trials.n_errors += 1
            path.write_bytes(content)
        if read_samples(name) != contents:
            trials.fail("acknowledged lost", "at the end")
    return trials


def additions_under(kind, action, probability, n, seed):
    """Add to a volume of S3 while requests fail; each trial changes a third of the samples or more."""
    trials, rng = Trials(kind), random.Random(seed)
    with work_folder() as folder, run_moto() as server, FaultyProxy(server, seed=seed) as proxy:
        prepare(folder / "cache")
        os.environ.update(s3_settings(proxy.address))
        acknowledged, name = {}, f"s3://{BUCKET}/additions/photos"
        for trial in range(n):
            if trial % 20 == 0:  # else the log becomes long, and each trial slow
                check_versions(trials, name, acknowledged)
                acknowledged, name = {}, f"s3://{BUCKET}/additions-{trial}/photos"
            contents = write_samples(folder / "samples", trial)
            proxy.clear()
            rule = {"probability": probability} if probability else {"skip": rng.randrange(14), "count": 1}
            fault = proxy.inject(action, **rule, **(WRITES if action is Action.DROP_ANSWER else {}))
            trials.n += 1
            try:
                version = add_samples(name, folder / "samples")
            except library_errors():
                trials.n_errors += 1
                proxy.clear()
                version = add_samples(name, folder / "samples")
            proxy.faults.clear()
            trials.n_faults += fault.hits
            acknowledged[version] = contents
            try:
                if read_samples(f"{name}@{version}") != contents:
                    trials.fail("wrong data", f"{name}@{version}")
            except library_errors() as error:
                trials.fail("acknowledged lost", str(error))
        check_versions(trials, name, acknowledged)
    return trials


def check_versions(trials, name, acknowledged):
    """All acknowledged versions are in the log, each once, and the latest is the last that was acknowledged."""
    if not acknowledged:
        return
    from rosenblatt.data.volumes.locations import parse_address
    from rosenblatt.data.volumes.storage.log import VolumeLog

    address = parse_address(name)
    history = list(VolumeLog(address.objects, address.name).history())
    tokens = Counter(commit.token for commit in history)
    roots = [commit.root for commit in history]
    if max(tokens.values()) > 1 or any(a == b for a, b in pairwise(roots)):
        trials.fail("commits not exactly once", name)
    if len(history) != max(acknowledged):
        trials.fail("commits not exactly once", f"{name}: {len(history)} versions, {max(acknowledged)} acknowledged")
    for version, contents in acknowledged.items():
        try:
            if read_samples(f"{name}@{version}") != contents:
                trials.fail("wrong data", f"{name}@{version}")
        except library_errors() as error:
            trials.fail("acknowledged lost", f"{name}@{version}: {error}")


def killed_addition(root, samples, cache, log_path):
    """What a process does that is killed: it adds, and writes down what was acknowledged."""
    prepare(cache)
    version = add_samples(f"{root}/photos", samples)
    with Path(log_path).open("a") as file:
        file.write(f"{version}\n")
        file.flush()


def killed_reading(name, cache, settings):
    """What a process does that is killed while it fetches."""
    os.environ.update(settings)
    prepare(cache)
    read_samples(name)


def checking(root, samples, cache, seed, log_path, result):
    """After a process was killed: what it acknowledged is there, and a further addition and collection go on."""
    from rosenblatt.data.volumes.maintenance.garbage import collect_garbage
    from rosenblatt.data.volumes.storage.log import VolumeLog
    from rosenblatt.data.volumes.storage.objects import open_objects

    prepare(cache)
    failures, started = [], time.monotonic()
    contents = {path.name: path.read_bytes() for path in Path(samples).iterdir()}
    log = VolumeLog(open_objects(root), "photos")
    acknowledged = [int(line) for line in Path(log_path).read_text().split()] if Path(log_path).exists() else []
    failures += [("acknowledged lost", f"photos@{version}") for version in acknowledged if version > log.latest()]
    if log.latest() and read_samples(f"{root}/photos@{log.latest()}").keys() != contents.keys():
        failures.append(("wrong data", f"photos@{log.latest()}"))
    before = log.latest()
    version = add_samples(f"{root}/photos", samples)
    if version not in (before, before + 1) or read_samples(f"{root}/photos") != contents:
        failures.append(("commits not exactly once", f"photos@{version}"))
    roots = [commit.root for commit in log.history()]
    if any(a == b for a, b in pairwise(roots)):
        failures.append(("commits not exactly once", f"photos@{version}"))
    collect_garbage(root, lambda _: None, delete=True)
    if time.monotonic() - started > LOCK_SECONDS:
        failures.append(("orphan locks", f"{time.monotonic() - started:.0f} s"))
    Path(result).write_text(json.dumps(failures))


def check_reading(name, cache, settings, samples, result):
    """After a process was killed while it fetched: another one reads everything with the same cache."""
    os.environ.update(settings)
    prepare(cache)
    started, failures = time.monotonic(), []
    if read_samples(name) != {path.name: path.read_bytes() for path in Path(samples).iterdir()}:
        failures.append(("wrong data", name))
    if time.monotonic() - started > LOCK_SECONDS:
        failures.append(("orphan locks", f"{time.monotonic() - started:.0f} s"))
    Path(result).write_text(json.dumps(failures))


def process_context():
    """Processes that are forked from one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["deltalake", "obstore", "blake3", "rosenblatt.data.volumes.add", "rosenblatt.data.volumes.streaming.reader",
         "rosenblatt.data.volumes.maintenance.garbage", "benchmarks.data_faults"]
    )  # fmt: skip
    return context


def run_killed(context, target, arguments, delay):
    """Run a process and kill it after a delay; returns whether it was still running, and its seconds."""
    process, started = context.Process(target=target, args=arguments), time.monotonic()
    process.start()
    process.join(delay)
    is_running = process.is_alive()
    if is_running:
        process.kill()
    process.join()
    return is_running, time.monotonic() - started


def run_check(context, trials, target, arguments, result):
    """Run a check in a process of its own, with a limit of time."""
    result.unlink(missing_ok=True)
    process = context.Process(target=target, args=(*arguments, str(result)))
    process.start()
    process.join(6 * LOCK_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        trials.fail("orphan locks", "the check did not end")
    elif not result.exists():
        trials.fail("acknowledged lost", f"the check ended with status {process.exitcode}")
    else:
        for failure, text in json.loads(result.read_text()):
            trials.fail(failure, text)


def killed_additions(n, seed, *, late):
    """Kill a process while it adds to a volume in a folder; `late`: in the second half, in which it commits."""
    trials = Trials(f"SIGKILL during {'a commit' if late else 'an addition'}")
    context, rng = process_context(), random.Random(seed)
    with work_folder() as folder:
        arguments = (str(folder / "volumes"), str(folder / "samples"), str(folder / "cache"))
        duration = 0.3
        for trial in range(n):
            if trial % 20 == 0:
                shutil.rmtree(folder / "volumes", ignore_errors=True)
                (folder / "log").unlink(missing_ok=True)
            write_samples(folder / "samples", trial)
            delay = duration * rng.uniform(0.5 if late else 0.0, 1.0)
            is_killed, seconds = run_killed(context, killed_addition, (*arguments, str(folder / "log")), delay)
            if not is_killed:
                duration = seconds
            duration *= 1.02 if is_killed else 0.98
            trials.n, trials.n_faults = trials.n + 1, trials.n_faults + is_killed
            run_check(context, trials, checking, (*arguments, trial, str(folder / "log")), folder / "result")
    return trials


def killed_readings(n, seed):
    """Kill a process while it fetches from S3 into the cache; another one then reads with the same cache."""
    trials, context, rng = Trials("SIGKILL during a fetch"), process_context(), random.Random(seed)
    with work_folder() as folder, run_moto() as server, FaultyProxy(server, seed=seed) as proxy:
        settings = s3_settings(proxy.address)
        write_samples(folder / "samples", 0)
        name, cache, duration = f"s3://{BUCKET}/killed/photos", str(folder / "cache"), 0.3
        process = context.Process(target=killed_s3_setup, args=(name, str(folder / "samples"), cache, settings))
        process.start()
        process.join()
        for _ in range(n):
            shutil.rmtree(cache, ignore_errors=True)
            is_killed, seconds = run_killed(
                context, killed_reading, (name, cache, settings), duration * rng.uniform(0.2, 1.0)
            )
            duration = duration * 1.02 if is_killed else 0.98 * seconds
            trials.n, trials.n_faults = trials.n + 1, trials.n_faults + is_killed
            run_check(
                context, trials, check_reading, (name, cache, settings, str(folder / "samples")), folder / "result"
            )
    return trials


def killed_s3_setup(name, samples, cache, settings):
    os.environ.update(settings)
    prepare(cache)
    add_samples(name, samples)


def run_trials(n, seed=0):
    """Run all trials; yields the counts of each kind."""
    yield stored_damage(n, seed)
    yield reads_under("one flipped byte, in an answer", Action.FLIP, n, seed)
    yield reads_under("cut download", Action.CUT, n, seed)
    yield additions_under("503s, a third of all requests", Action.UNAVAILABLE, 1 / 3, n, seed)
    yield additions_under("lost answer of a write", Action.DROP_ANSWER, 0, n, seed)
    yield killed_additions(n, seed, late=False)
    yield killed_additions(n, seed, late=True)
    yield killed_readings(n, seed)
