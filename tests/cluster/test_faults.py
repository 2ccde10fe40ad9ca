"""Whatever happens to a machine, a search ends with each trial counted once and with the same result as without it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.node_state import NodeReport
from rosenblatt.cluster.open import driver_connection, open_cluster
from rosenblatt.cluster.probe import Endpoint, ProbeResult, probe
from rosenblatt.cluster.record import list_records
from rosenblatt.cluster.security import CertificateAuthority, Credentials
from rosenblatt.cluster.up import UpOptions, bring_up, report_nodes, take_down, take_down_abandoned
from rosenblatt.errors import ClusterError
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.cluster.clocks import attach_clock, set_clock
from tests.cluster.machines import REPOSITORY, assert_idle, machines, write_hosts
from tests.tuning.test_coordinator import FAST, SPACE, assert_equal_searches, make_prepared
from tests.tuning.test_ray_workers import after_results, local_search
from tests.waiting import wait_until

pytestmark = pytest.mark.slow_cluster
TRIALS = 12
CONTROLLER = """
import sys, time
from rosenblatt.cluster.open import open_cluster
with open_cluster(sys.argv[1], lambda text: print(text, flush=True)):
    print("up", flush=True)
    time.sleep(600)
"""


@contextmanager
def cluster_on(tmp_path, rig, name="lab"):
    """A cluster on machines; what is left of it at the end is taken down."""
    record = bring_up(read_hosts(write_hosts(tmp_path, rig)), UpOptions(name), print)
    try:
        yield record
    finally:
        take_down(record, print)
        for left in list_records():
            if left.name == name:
                (tmp_path / "state" / "rosenblatt" / "clusters" / f"{name}.json").unlink()


def phases(record):
    """The phase of each node of a cluster, or why it does not report."""
    return [getattr(report, "phase", report) for report in report_nodes(record)]


def search_on(record, fault, n_results=5):
    """Search on a cluster, with a fault after some results; returns the search and the messages."""
    return search_over(driver_connection(record), fault, n_results)


def search_over(connection, fault, n_results=5):
    """Search over a connection, as `search_on`."""
    messages = []

    def start(_threads):
        workers = RayWorkers(connection, messages.append, lambda: WorkerPool(2))
        after_results(n_results, lambda _: fault())(workers)
        return workers

    spec = Spec.from_hyperparameters(**FAST | {"trials": TRIALS, "deterministic": True})
    search = SearchCoordinator(spec.with_search_space(SPACE), make_prepared(), make_workers=start)
    search.run()
    return search, messages


def test_the_status_of_a_cluster_says_who_searches_on_which_machines(tmp_path):
    with machines(2) as rig, cluster_on(tmp_path, rig) as record:
        reports = []
        search_on(record, lambda: reports.append(report_nodes(record)[0]))
        [head] = reports
        assert [(machine.is_alive, machine.cores, machine.free_cores) for machine in head.ray_machines] == [
            (True, 1, 0)
        ] * 2
        [status] = head.searches
        assert f"process {os.getpid()}" in status.controller
        assert {machine.address for machine in status.machines} == {machine.address for machine in rig}
        after = report_nodes(record)[0]
        assert after.searches == ()
        wait_until(lambda: all(machine.free_cores == 1 for machine in report_nodes(record)[0].ray_machines), timeout=30)


def fill_disk(machine):
    machine.run("cat /dev/zero > /tmp/full 2>/dev/null; true")


@pytest.mark.parametrize("fault", ["power_off", "cut", "fill_disk", "slow"])
def test_a_search_ends_as_without_the_fault_of_a_machine(tmp_path, fault):
    with machines(3, disk="300m") as rig, cluster_on(tmp_path, rig) as record:
        faults = {"power_off": rig[2].power_off, "cut": rig[2].cut, "fill_disk": lambda: fill_disk(rig[2])}
        faults["slow"] = lambda: rig[2].slow(50, loss=0.02)
        search, messages = search_on(record, faults[fault])
        assert_equal_searches(search, local_search(trials=TRIALS))
        if fault in ("power_off", "cut"):
            assert any(rig[2].name in message and "moved" in message for message in messages), messages
            reports = report_nodes(record)
            assert [isinstance(report, NodeReport) for report in reports] == [True, True, False]
            seen = {machine.address: machine.is_alive for machine in reports[0].ray_machines}
            assert seen == {rig[0].address: True, rig[1].address: True, rig[2].address: False}
        rig[2].mend()


@pytest.mark.parametrize("shift_s", [3600, -3600])
def test_a_search_does_not_depend_on_the_clocks_of_machines(tmp_path, shift_s):
    with machines(2) as rig:
        for machine in rig:
            attach_clock(machine)
        with open_cluster(str(write_hosts(tmp_path, rig)), print) as connection:  # its nodes have leases
            [record] = list_records()
            search, messages = search_over(connection, lambda: set_clock(rig[1], shift_s))
            shift = int(rig[1].run("date +%s").stdout) - time.time()
            assert abs(shift - shift_s) < 30
            time.sleep(1.0)  # in which its node looks at its lease
            assert phases(record) == ["ready", "ready"]
        assert_equal_searches(search, local_search(trials=TRIALS))
        assert len(messages) == 1
        assert_idle(*rig)


def test_start_files_of_shells_may_print(tmp_path):
    with machines(2) as rig:
        for machine in rig:
            machine.run("rm -f ~/.bashrc; echo 'echo Welcome to the lab; echo mail >&2' > ~/.bashrc")
        assert subprocess.check_output(["ssh", f"root@{rig[0].address}", "true"]) == b"Welcome to the lab\n"
        with cluster_on(tmp_path, rig) as record:
            search, messages = search_on(record, lambda: None)
        assert_equal_searches(search, local_search(trials=TRIALS))
        assert len(messages) == 1


def test_a_search_ends_on_this_machine_if_the_head_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.ray_workers.RECONNECT_DELAYS_S", (0.0,))
    with machines(2) as rig, cluster_on(tmp_path, rig) as record:
        search, messages = search_on(record, rig[0].power_off)
        assert_equal_searches(search, local_search(trials=TRIALS))
        assert "the search continues on this machine" in messages[-1]
        # The other node ends by itself, since its head does not come back
        wait_until(lambda: phases(record)[1] == "ended", timeout=120)
        assert_idle(rig[1])


# Shells ignore Ctrl-C in what they run in the background, such as these tests
INTERRUPTIBLE = "env", "--default-signal=INT", sys.executable


@contextmanager
def run_up(hosts):
    """`cluster up` as a process, which is killed after a while."""
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}/src"}
    program = [*INTERRUPTIBLE, "-m", "rosenblatt", "cluster", "up", str(hosts)]
    command = subprocess.Popen(program, stdout=subprocess.DEVNULL, env=environment)
    timer = threading.Timer(120, command.kill)
    timer.start()
    try:
        yield command
    finally:
        timer.cancel()
        command.kill()
        command.wait()


def start_controller(hosts):
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}/src"}
    program = [*INTERRUPTIBLE, "-c", CONTROLLER, str(hosts)]
    controller = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment)
    for line in controller.stdout:
        if line == "up\n":
            return controller
    raise AssertionError(controller.wait())


def test_a_killed_controller_leaves_a_cluster_that_the_next_command_takes_down(tmp_path):
    with machines(2) as rig:
        controller = start_controller(write_hosts(tmp_path, rig))
        controller.kill()
        controller.wait()
        controller.stdout.close()
        [record] = list_records()
        assert record.is_abandoned
        assert phases(record) == ["ready", "ready"]
        messages = []
        take_down_abandoned(messages.append)
        assert messages == [f"Taking down {record.name!r}, whose command was killed."]
        assert_idle(*rig)


def test_ctrl_c_leaves_no_process_on_any_machine(tmp_path):
    with machines(2) as rig:
        controller = start_controller(write_hosts(tmp_path, rig))
        controller.send_signal(signal.SIGINT)
        controller.communicate()
        assert list_records() == []
        assert_idle(*rig)


def test_a_second_ctrl_c_leaves_a_cluster_that_the_next_command_takes_down(tmp_path):
    with machines(2) as rig:
        controller = start_controller(write_hosts(tmp_path, rig))
        [record] = list_records()
        controller.send_signal(signal.SIGINT)
        wait_until(lambda: rig[0].processes("node_commands stop"), timeout=60)
        controller.send_signal(signal.SIGINT)
        output, _ = controller.communicate()
        assert f"Run `rosenblatt cluster down {record.name}`." in output
        [left] = list_records()
        assert left.is_abandoned
        assert take_down(left, print)
        assert list_records() == []
        assert_idle(*rig)


def test_machines_with_a_full_disk_or_a_wrong_clock_are_left_out_if_wanted(tmp_path):
    with machines(3, disk="300m") as rig:
        fill_disk(rig[1])
        date = "#!/bin/bash\necho $(($(printf '%(%s)T' -1) + 100))"  # without a call of itself
        rig[2].run(f"echo {shlex.quote(date)} > /tmp/date; chmod 755 /tmp/date; mount --bind /tmp/date /usr/bin/date")
        hosts = read_hosts(write_hosts(tmp_path, rig))
        with pytest.raises(ClusterError) as error:
            bring_up(hosts, UpOptions("lab"), print)
        assert "2 machines of 3 cannot be used" in str(error.value)
        assert f"{rig[1].address}: /tmp has 0 MB of free disk" in str(error.value)
        assert f"{rig[2].address}: its clock is" in str(error.value)
        assert_idle(*rig)
        record = bring_up(hosts, UpOptions("lab", skip_failed=True), print)
        assert [node.host.address for node in record.nodes] == [rig[0].address]
        assert take_down(record, print)
        assert_idle(*rig)


def test_a_probe_tells_in_seconds_why_ray_does_not_let_one_in(tmp_path):
    with machines(1) as rig, cluster_on(tmp_path, rig) as record:
        host, port = record.head.split(":")
        head = Endpoint(host, int(port))
        folder = tmp_path / "credentials"
        folder.mkdir()
        for name in ("token", "ca.pem", "node.pem", "node.key"):
            (folder / name).write_text(rig[0].run(f"cat {record.nodes[0].folder}/{name}").stdout)
        right = Credentials.read(folder)
        wrong = Credentials("0" * 64, right.ca, right.certificate, right.key)
        assert probe(head, right) is ProbeResult.READY
        assert probe(head, wrong) is ProbeResult.WRONG_TOKEN
        assert probe(head, CertificateAuthority("other").issue(["a"])) is ProbeResult.WRONG_AUTHORITY
        assert probe(Endpoint(host, 22), right) is ProbeResult.NO_TLS
        assert probe(Endpoint(host, 1), right) is ProbeResult.REFUSED
        rig[0].cut()
        start = time.monotonic()
        assert probe(head, right) is ProbeResult.NO_ROUTE
        assert time.monotonic() - start < 5.5
        rig[0].mend()


def test_two_clusters_on_one_machine_do_not_disturb_each_other(tmp_path):
    with machines(2) as rig, cluster_on(tmp_path, rig, "one") as one:
        second = tmp_path / "second"
        second.mkdir()
        with cluster_on(second, rig[:1], "two") as two, ThreadPoolExecutor(2) as pool:
            searches = list(pool.map(lambda record: search_on(record, lambda: None)[0], [one, two]))  # at the same time
            for search in searches:
                assert_equal_searches(search, local_search(trials=TRIALS))
            assert phases(one) == ["ready", "ready"]
            assert take_down(two, print)
            assert_equal_searches(search_on(one, lambda: None)[0], local_search(trials=TRIALS))


def test_a_node_of_an_interrupted_start_is_ended(tmp_path):
    with machines(2) as rig:
        with run_up(write_hosts(tmp_path, rig)) as command:
            wait_until(lambda: rig[0].processes("gcs_server"), timeout=60)
            command.send_signal(signal.SIGINT)
            assert command.wait() == 130
        assert_idle(*rig)
        assert list_records() == []


HANGING_UV = """#!/bin/sh
[ "$1" = pip ] || exit 0
sleep 1000 &
touch ~/builds
wait
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_on_machines_ends_with_its_command(tmp_path, number):
    with machines(2, disk="3g") as rig:
        for machine in rig:
            path = "~/.local/bin/uv"
            machine.run(
                f"mkdir -p ~/.local/bin; rm -f {path}; printf %s {shlex.quote(HANGING_UV)} > {path}; chmod 755 {path}"
            )
        hosts = tmp_path / "hosts.txt"
        hosts.write_text("".join(f"root@{machine.address}\n" for machine in rig))
        with run_up(hosts) as command:
            wait_until(lambda: all(machine.run("ls ~").stdout.count("builds") for machine in rig), timeout=60)
            command.send_signal(number)
            start = time.monotonic()
            assert command.wait() == (130 if number == signal.SIGINT else -number)
            assert time.monotonic() - start < 15
        for machine in rig:
            wait_until(lambda machine=machine: not machine.processes("sleep 1000"), timeout=20)
        assert_idle(*rig)
        assert list_records() == []


def test_a_killed_start_is_taken_down_by_its_name(tmp_path):
    with machines(2) as rig:
        with run_up(write_hosts(tmp_path, rig)) as command:
            wait_until(lambda: rig[0].processes("gcs_server"), timeout=60)
            command.kill()
        [record] = list_records()
        assert take_down(record, print)
        assert_idle(*rig)
        assert list_records() == []
