"""The machines of a command: checks of the options, and workers on a cluster."""

from contextlib import closing, contextmanager

import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.machines import Machines
from rosenblatt.cli.main import cli
from rosenblatt.cluster import open as open_module
from rosenblatt.errors import ClusterError, RosenblattError, SpecError
from rosenblatt.runs.store.queries import find_runs, load_output
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning import ray_workers
from rosenblatt.tuning.ray_connection import RayConnection
from tests.tuning.test_ray_workers import LocalCluster


@pytest.fixture
def local_cluster(tmp_path, people, own_store, monkeypatch, same_process_check):
    """A cluster of one machine for --on, and a table in the working folder."""
    cluster = LocalCluster(tmp_path, a=2)

    @contextmanager
    def open_cluster(*_arguments):
        yield cluster.connection()

    monkeypatch.setattr(open_module, "open_cluster", open_cluster)
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return f"sqlite:///{own_store}/runs.db"


def fit_on_cluster(store_url, *options):
    """The output of the runs of a fit."""
    arguments = ["fit", "people.csv", "-t", "rich", "--on", "lab", "--folds", "2", "--epochs", "4", *options]
    result = CliRunner().invoke(cli, arguments, obj=ExitStatus())
    assert result.exit_code == 0, result.output
    with closing(Store(store_url)) as store:
        return {run.kind: "".join(text for _, text in load_output(store, run.id)) for run in find_runs(store)}


def test_the_log_of_a_trial_is_the_output_of_its_run(local_cluster):
    output = fit_on_cluster(local_cluster, "--trials", "1", "--repeats", "1")
    lines = sorted(line.partition(" in ")[0] for line in output["trial"].splitlines())
    assert lines == [f"a: network {n}: {epochs}" for n in (1, 2) for epochs in ("epoch 1", "epochs 2 to 4")]


def test_the_log_of_a_fit_without_a_search_is_in_its_own_output(local_cluster):
    output = fit_on_cluster(local_cluster, "--members", "2", "--hidden-sizes", "4")
    for network in (1, 2):
        assert f"network {network}: a: epoch 1 in" in output["fit"]


def log(_trial, _text):
    pass


CNN, MLP = Spec.from_hyperparameters(kind="cnn"), Spec.from_hyperparameters(kind="mlp")


def test_several_machines_for_a_network_need_a_cluster_and_a_network_of_pytorch():
    Machines(None).check(MLP)
    Machines("hosts.txt", 2).check(CNN)
    Machines("hosts.txt", 2).check(Spec.from_hyperparameters(kind="mlp", device="cuda"))
    with pytest.raises(SpecError, match="needs the machines of a cluster"):
        Machines(None, 2).check(CNN)
    with pytest.raises(SpecError, match="but this is a network of kind mlp on device cpu"):
        Machines("hosts.txt", 2).check(MLP)


def test_a_command_without_on_opens_no_cluster():
    with Machines(None).open(MLP, print, log) as make_workers:
        assert make_workers is None


def test_workers_of_a_cluster_are_started_as_the_options_say(monkeypatch):
    events, connection = [], RayConnection("lab")

    @contextmanager
    def open_cluster(on, notify, confirm):
        events.append(f"open {on}")
        yield connection
        events.append("close")

    monkeypatch.setattr(open_module, "open_cluster", open_cluster)
    monkeypatch.setattr(ray_workers, "RayWorkers", lambda *arguments: arguments)
    with Machines("lab", 3).open(CNN, print, log) as make_workers:
        assert events == []
        make_workers(1)[2]().close()
        cluster, notify, make_local, *options = make_workers(1)
        assert (cluster, notify, options) == (connection, print, ["cpu", 3, log])
        local = make_local()
        assert isinstance(local, WorkerPool)
        local.close()
    assert events == ["open lab", "close"]


def test_workers_of_this_machine_replace_those_of_a_cluster_that_is_lost_later(monkeypatch):
    messages, errors = [], [ClusterError("lab is lost."), None, ClusterError("lab is lost.")]

    def start(*_arguments):
        if error := errors.pop(0):
            raise error
        return "workers of lab"

    @contextmanager
    def open_cluster(*_arguments):
        yield RayConnection("lab")

    monkeypatch.setattr(open_module, "open_cluster", open_cluster)
    monkeypatch.setattr(ray_workers, "RayWorkers", start)
    with Machines("lab").open(MLP, messages.append, log) as make_workers:
        with pytest.raises(ClusterError):
            make_workers(1)
        assert make_workers(1) == "workers of lab"
        local = make_workers(1)
        assert isinstance(local, WorkerPool)
        local.close()
    assert messages == ["lab is lost. This machine goes on."]


@pytest.fixture
def cluster_events(monkeypatch):
    """What happens to the cluster of a command."""
    events = []

    @contextmanager
    def open_cluster(on, notify, confirm):
        events.append("open")
        try:
            yield RayConnection(on)
        finally:
            events.append("close")

    monkeypatch.setattr(open_module, "open_cluster", open_cluster)
    return events


def invoke(*arguments):
    return CliRunner().invoke(cli, ["fit", *arguments, "--on", "lab", "--store", "none"], obj=ExitStatus())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["people.csv", "-t", "salary"], "There is no column 'salary'"),
        (["people.csv", "-t", "rich", "--kind", "rnn"], "rnn"),
        (["missing.csv", "-t", "rich"], "missing.csv"),
        (["people.csv", "-t", "rich", "--trials", "3", "--task", "regression"], "regression"),
    ],
)
def test_a_table_that_cannot_be_used_opens_no_cluster(work_folder, people, cluster_events, options, message):
    people.write_csv("people.csv")
    result = invoke(*options)
    assert isinstance(result.exception, RosenblattError)
    assert message in str(result.exception)
    assert cluster_events == []


@pytest.mark.parametrize("options", [(), ("--trials", "3")])
def test_a_cluster_is_closed_after_an_error(work_folder, people, cluster_events, monkeypatch, options):
    def start(*_arguments):
        raise ClusterError("lab has no machine.")

    monkeypatch.setattr(ray_workers, "RayWorkers", start)
    people.write_csv("people.csv")
    result = invoke("people.csv", "-t", "rich", *options)
    assert str(result.exception) == "lab has no machine."
    assert cluster_events == ["open", "close"]
