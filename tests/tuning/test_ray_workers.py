"""Workers of a search on a cluster: machines that join, crash and are lost, and a driver that ends."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty
from threading import Timer

import pytest

from rosenblatt.errors import ClusterError, SpecError
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning import driver_process, ray_workers
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.packing import PackedResult
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.tuning.test_coordinator import FAST, SPACE, Spec, assert_equal_searches, make_prepared
from tests.tuning.work_items import make_items
from tests.waiting import wait_until

LOCAL_RAY = Path(__file__).with_name("local_ray.py")


class LocalCluster:
    """A cluster whose machines are threads of its driver."""

    def __init__(self, folder: Path, **nodes: int) -> None:
        self._file, self.messages, self.log = folder / "nodes.json", list[str](), list[tuple[int, str]]()
        self.set(**nodes)

    def set(self, **nodes: int) -> None:
        """Set the machines and their cores."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(nodes))
        temporary.replace(self._file)

    def connection(self, address: str = "auto") -> RayConnection:
        return RayConnection("test", (sys.executable, str(LOCAL_RAY)), {"LOCAL_RAY_NODES": str(self._file)}, address)

    def workers(self, address: str = "auto") -> RayWorkers:
        def add_to_log(trial: int, text: str) -> None:
            self.log.append((trial, text))

        connection, notify = self.connection(address), self.messages.append
        return RayWorkers(connection, notify, lambda: WorkerPool(2), log=add_to_log)

    def search(self, on_start=lambda _workers: None, **spec) -> SearchCoordinator:
        def make_workers(_threads):
            workers = self.workers()
            on_start(workers)
            return workers

        spec = Spec.from_hyperparameters(**FAST | {"trials": 6, "deterministic": True} | spec)
        return SearchCoordinator(spec.with_search_space(SPACE), make_prepared(), make_workers=make_workers)


@pytest.fixture
def cluster(tmp_path):
    return LocalCluster(tmp_path, a=1, b=1)


def local_search(**spec):
    spec = Spec.from_hyperparameters(**FAST | {"trials": 6, "deterministic": True} | spec)
    search = SearchCoordinator(spec.with_search_space(SPACE), make_prepared())
    search.run()
    return search


def test_a_search_on_a_cluster_equals_one_on_this_machine(cluster):
    search = cluster.search()
    search.run()
    assert_equal_searches(search, local_search())
    assert cluster.messages == ["training on 2 machines of cluster test with 2 threads: 'a' and 'b'"]
    for trial in search.history.trials:  # its log tells who trained each epoch of each network
        epochs = Counter[int]()
        for line in "".join(text for number, text in cluster.log if number == trial.number).splitlines():
            pattern = r"[ab]: network (\d): epochs? (?:(\d+) to )?(\d+) in [\d.]+ s"
            network, first, last = re.fullmatch(pattern, line).groups()
            assert int(first or last) == epochs[int(network) - 1] + 1
            epochs[int(network) - 1] = int(last)
        assert epochs == {index: member.n_epochs for index, member in enumerate(trial.folds.members) if member}


def after_results(n, act):
    """Call a function once, when workers have returned n results."""

    def on_start(workers):
        get, counts = workers.get, []

        def counted_get(timeout):
            result = get(timeout)
            counts.append(result)
            if len(counts) == n:
                act(workers)
            return result

        workers.get = counted_get

    return on_start


def kill_driver(workers):
    os.kill(workers._driver._process.pid, signal.SIGKILL)


@pytest.mark.slow_cluster
def test_a_search_survives_the_end_of_its_driver(cluster):
    search = cluster.search(after_results(5, kill_driver))
    search.run()
    assert_equal_searches(search, local_search())
    (_, lost, back) = cluster.messages
    assert "the connection is lost" in lost
    assert "connected again" in back


@pytest.mark.slow_cluster
def test_a_search_ends_on_this_machine_if_the_cluster_is_lost(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "RECONNECT_DELAYS_S", (0.0,))

    def lose_cluster(workers):
        workers._connection = cluster.connection("nowhere")
        kill_driver(workers)

    search = cluster.search(after_results(5, lose_cluster))
    search.run()
    assert_equal_searches(search, local_search())
    assert "cannot be reached; the search continues on this machine (2 threads)" in cluster.messages[-1]


@pytest.mark.slow_cluster
def test_items_of_a_lost_machine_move_and_machines_that_join_are_used(cluster):
    def replace_machine(workers):
        cluster.set(b=1, c=1)
        wait_until(lambda: [node.is_lost for node in workers.nodes] == [False, False, True], description="a to be lost")

    search = cluster.search(after_results(5, replace_machine))
    search.run()
    assert_equal_searches(search, local_search())
    text = " ".join(cluster.messages)
    assert "a: the machine was lost; it is not used any more" in text
    assert "c joined (1 thread)" in text


@pytest.mark.slow_cluster
def test_a_machine_that_keeps_crashing_is_not_used_any_more(cluster):
    cluster.set(a=-1, b=1)
    search = cluster.search()
    search.run()
    assert_equal_searches(search, local_search())
    assert sum("its worker is started again" in message for message in cluster.messages) == 2
    assert sum("it is not used any more" in message for message in cluster.messages) == 1


@pytest.mark.slow_cluster
def test_workers_closed_while_they_connect_again_start_nothing_more(cluster, monkeypatch):
    processes = []
    workers, popen = cluster.workers(), driver_process.subprocess.Popen

    def start_silent_driver(_command, **options):
        processes.append(popen((sys.executable, "-c", "input()"), **options))
        return processes[-1]

    monkeypatch.setattr(driver_process.subprocess, "Popen", start_silent_driver)
    (item, *_) = make_items(1, epochs=100_000)
    workers.submit(item)
    kill_driver(workers)
    wait_until(lambda: processes, description="the next driver to be started")
    reader = workers._driver._reader
    workers.close()
    assert processes[0].poll() is not None
    assert not reader.is_alive()
    assert workers._local is None
    assert len(processes) == 1
    assert workers.drain() == []


@pytest.mark.slow_cluster
def test_a_lost_cluster_that_this_machine_cannot_replace_is_an_error(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "RECONNECT_DELAYS_S", (0.0,))

    def make_local():
        raise SpecError("there is no GPU")

    workers = RayWorkers(cluster.connection(), cluster.messages.append, make_local)
    try:
        workers._connection = cluster.connection("nowhere")
        kill_driver(workers)
        with pytest.raises(ClusterError, match="cannot be reached, and this machine cannot go on: there is no GPU"):
            get_until_error(workers)
    finally:
        workers.close()


def get_until_error(workers):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(Empty):
            workers.get(0.1)


@pytest.mark.slow_cluster
def test_drivers_that_end_again_and_again_without_a_result_are_given_up(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "RECONNECT_DELAYS_S", (0.0,))
    workers = cluster.workers()
    try:
        for n in range(1, ray_workers.MAX_LOSSES + 2):
            driver = workers._driver
            kill_driver(workers)
            wait_until(
                lambda d=driver: workers._driver is not d or workers._local, description=f"loss {n} to be noticed"
            )
        assert workers._local is not None
    finally:
        workers.close()


@pytest.mark.slow_cluster
def test_what_the_shell_of_the_driver_prints_first_is_skipped(cluster, monkeypatch):
    start = "echo Welcome to lab1; echo You have mail >&2; exec "
    plain = cluster.connection()
    connection = replace(plain, command=("sh", "-c", start + shlex.join(plain.command)))
    monkeypatch.setattr(cluster, "connection", lambda _address: connection)
    search = cluster.search()
    search.run()
    assert_equal_searches(search, local_search())


@pytest.mark.slow_cluster
def test_a_driver_is_not_silent_while_its_report_is_handled(cluster, monkeypatch):
    monkeypatch.setattr(driver_process, "SILENCE_TIMEOUT_S", 3.0)
    on_results, slow_calls = RayWorkers._on_results, []

    def handle_slowly(workers, header, content):
        if not slow_calls:
            slow_calls.append(content)
            time.sleep(6.0)
        on_results(workers, header, content)

    monkeypatch.setattr(RayWorkers, "_on_results", handle_slowly)
    search = cluster.search()
    search.run()
    assert len(cluster.messages) == 1
    assert_equal_searches(search, local_search())


@pytest.mark.slow_cluster
@pytest.mark.parametrize("machines", [{"a": 2}, {"a": 1, "b": 1}])
def test_an_item_that_ends_its_process_fails_with_the_reason_and_no_other_one(cluster, machines):
    cluster.set(**machines)
    items = make_items(3)
    poisoned = items[0].trial
    poisoned.proposal = replace(poisoned.proposal, params={"poison": True})
    workers = cluster.workers()
    try:
        for item in items:
            workers.submit(item)
        results = [wait_for_result(workers) for _ in items]
    finally:
        workers.close()
    failed = [result for result in results if result.failure]
    assert {result.trial for result in failed} == {poisoned.number}
    assert all("3 processes that trained it ended, the last one on " in result.failure for result in failed)
    assert all(result.failure.endswith(": the process has crashed") for result in failed)
    ends = [line.partition("; ")[2] for trial, line in cluster.log if trial == poisoned.number and "network 1" in line]
    assert ends == ["it is trained again\n", "it is trained again\n", "it fails\n"]
    assert not any("not used any more" in message or "connection" in message for message in cluster.messages)


def install_another_network(monkeypatch, n_misfits):
    """Results of trial 0 do not fit a number of times."""
    install, misfits = PackedResult.install, []

    def damaged_install(packed, item):
        if item.trial.number == 0 and len(misfits) < n_misfits:
            misfits.append(packed)
            raise ClusterError("it does not fit")
        install(packed, item)

    monkeypatch.setattr(PackedResult, "install", damaged_install)


@pytest.mark.slow_cluster
@pytest.mark.parametrize("n_misfits", [1, 100])
def test_an_item_whose_result_does_not_fit_is_trained_again_a_few_times(cluster, monkeypatch, n_misfits):
    install_another_network(monkeypatch, n_misfits)
    items, workers = make_items(2), cluster.workers()
    try:
        for item in items:
            workers.submit(item)
        results = [wait_for_result(workers) for _ in items]
    finally:
        workers.close()
    assert {(result.trial, result.fold) for result in results} == {(item.trial.number, item.index) for item in items}
    assert [result.trial for result in results if result.failure] == ([0, 0] if n_misfits > 1 else [])


@pytest.mark.slow_cluster
def test_a_driver_that_ends_while_workers_start_is_refused(cluster, monkeypatch):
    wait = ray_workers.DriverProcess.wait_until_started

    def wait_and_kill(driver, timeout):
        wait(driver, timeout)
        driver.kill("it was killed")
        wait_until(lambda: driver.has_ended)

    monkeypatch.setattr(ray_workers.DriverProcess, "wait_until_started", wait_and_kill)
    with pytest.raises(ClusterError, match="Cluster test cannot be used: it was killed"):
        cluster.workers()


@pytest.mark.slow_cluster
def test_a_new_driver_that_ends_at_once_is_replaced(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "RECONNECT_DELAYS_S", (0.0,))
    wait, drivers = ray_workers.DriverProcess.wait_until_started, []

    def wait_and_kill(driver, timeout):
        wait(driver, timeout)
        drivers.append(driver)
        if len(drivers) == 2:
            driver.kill("it was killed")
            wait_until(lambda: driver.has_ended)

    monkeypatch.setattr(ray_workers.DriverProcess, "wait_until_started", wait_and_kill)
    search = cluster.search(after_results(5, kill_driver))
    search.run()
    assert_equal_searches(search, local_search())
    assert len(drivers) == 3


@pytest.mark.slow_cluster
def test_a_driver_ends_if_its_controller_is_silent(cluster, monkeypatch):
    monkeypatch.setattr(driver_process, "SILENCE_TIMEOUT_S", 3.0)
    monkeypatch.setattr(driver_process, "HEARTBEAT_INTERVAL_S", 0.5)
    workers = cluster.workers()
    try:
        process = workers._driver._process
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(6.0)  # signs of life reach it
        monkeypatch.setattr(driver_process, "HEARTBEAT_INTERVAL_S", 60.0)
        assert process.wait(10.0) == 1
    finally:
        workers.close()


def wait_for_result(workers):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(Empty):
            return workers.get(0.1)
    raise AssertionError("there is no result")


@pytest.mark.slow_cluster
def test_results_of_earlier_attempts_are_ignored(cluster):
    workers = cluster.workers()
    (item, *_) = make_items(1)
    try:
        workers.submit(item)
        key = item.trial.number, item.index
        workers._in_flight[key] = workers._in_flight[key]._replace(attempt=Attempt(*key, 2))
        with pytest.raises(Empty):
            workers.get(timeout=1.0)
        assert item.trial.folds.members[item.index] is None
    finally:
        workers.close()


@pytest.mark.slow_cluster
def test_items_of_a_lost_machine_are_sent_as_moved(cluster):
    workers, items, sent = cluster.workers(), make_items(2, epochs=100_000), []
    send = workers._driver.send

    def record(kind, content=b"", **header):
        sent.extend([header["is_moved"]] if kind == "item" else [])
        send(kind, content, **header)

    workers._driver.send = record
    try:
        for item in items:
            workers.submit(item)
        cluster.set(b=1)
        wait_until(lambda: len(sent) >= 6, description="items of a to be moved")
        assert sent == [False] * 4 + [True] * 2
    finally:
        workers.close()


@pytest.mark.slow_cluster
def test_a_silent_driver_is_replaced(cluster, monkeypatch):
    monkeypatch.setattr(driver_process, "SILENCE_TIMEOUT_S", 5.0)
    stop_driver = after_results(5, lambda workers: os.kill(workers._driver._process.pid, signal.SIGSTOP))
    search = cluster.search(stop_driver)
    search.run()
    assert_equal_searches(search, local_search())
    assert "no report for 5 s" in cluster.messages[1]


@pytest.mark.slow_cluster
def test_a_cluster_that_starts_machines_on_demand_is_given_their_time(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "START_TIMEOUT_S", 0.5)
    cluster.set()
    with pytest.raises(ClusterError, match=r"has no machine that is ready after 0\.5 s"):
        cluster.workers()
    connection = replace(cluster.connection(), machine_start_s=60.0)
    timer = Timer(2.0, cluster.set, kwargs={"a": 1})
    timer.start()
    workers = RayWorkers(connection, cluster.messages.append, lambda: WorkerPool(2))
    try:
        assert workers.threads == 1
    finally:
        workers.close()
        timer.join()


@pytest.mark.slow_cluster
def test_a_cluster_that_does_not_exist_is_refused_with_its_reason(cluster):
    with pytest.raises(ClusterError, match=r"Cluster test cannot be used: there is no cluster at 10\.9\.9\.9:6379"):
        cluster.workers("10.9.9.9:6379")


@pytest.mark.slow_cluster
def test_a_machine_with_another_version_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(driver_process, "version", lambda _: "99.0")
    with pytest.raises(ClusterError, match=r"has rosenblatt .*, but this machine has 99.0. Install the same version"):
        cluster.workers()


@pytest.mark.slow_cluster
def test_closing_leaves_no_process(cluster):
    workers = cluster.workers()
    process = workers._driver._process
    workers.close()
    assert process.poll() is not None
    workers.close()


@pytest.mark.slow
def test_a_search_on_ray_equals_one_on_this_machine_though_a_node_is_killed(ray_cluster):
    def remove_node(workers):
        ray_cluster.nodes.remove_node(ray_cluster.second_node, allow_graceful=False)
        wait_until(lambda: any(node.is_lost for node in workers.nodes), description="the node to be lost")

    make_workers = ray_cluster.workers

    def start(_threads):
        workers = make_workers()
        after_results(5, remove_node)(workers)
        return workers

    spec = Spec.from_hyperparameters(**FAST | {"trials": 12, "deterministic": True})
    search = SearchCoordinator(spec.with_search_space(SPACE), make_prepared(), make_workers=start)
    search.run()
    assert_equal_searches(search, local_search(trials=12))
    assert any("is not used any more" in message for message in ray_cluster.messages)
