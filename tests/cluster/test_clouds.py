"""Clusters of clouds: cost, confirmation, and what stays when something fails. `ray up` is replaced by a record."""

from __future__ import annotations

import json
import stat

import pytest

from rosenblatt.cluster import clouds
from rosenblatt.cluster.clouds import (
    bring_cloud_up,
    cloud_folder,
    connect_to_cloud,
    describe_cost,
    list_clouds,
    take_cloud_down,
)
from rosenblatt.cluster.cluster_file import CloudFile
from rosenblatt.cluster.node_state import ProcessId
from rosenblatt.cluster.open import open_cluster
from rosenblatt.cluster.ray_launcher import HeadLocation, check_launcher
from rosenblatt.errors import ClusterError

pytest.importorskip("ray", reason="Ray is not installed")
TEXT = "provider: aws\nregion: r\nmachine: m8\ncores: 8\nmax_machines: 10\nprice_per_hour: 0.25\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Calls of `ray`, none of which is made."""
    made = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(clouds, "check_launcher", lambda _: None)
    monkeypatch.setattr(clouds, "call_ray", lambda command, _: made.append(command))
    monkeypatch.setattr(clouds, "locate_head", lambda _: HeadLocation(address="192.0.2.7", key="/keys/k.pem"))
    monkeypatch.setattr(clouds.EnvironmentSource, "wheel", ("rosenblatt-1-py3-none-any.whl", b"wheel"))
    monkeypatch.setattr(clouds.EnvironmentSource, "requirements", ["numpy==2.4.6"])
    return made


def make_file(**settings):
    values = {"provider": "aws", "region": "r", "machine": "m8", "cores": 8, "max_machines": 10}
    return CloudFile(**values | settings)


def test_the_cost_is_that_of_the_prices_in_the_file():
    text = describe_cost(make_file(price_per_hour=0.25, min_machines=2), hours=3)
    assert "2 to 10 machines m8 in r" in text
    assert "At most 2.75 per hour, 0.75 while idle; at most 8.25 for 3 h." in text


def test_no_price_is_invented():
    assert "The cost is not known; give price_per_hour in the cluster file." in describe_cost(make_file())
    spot = make_file(price_per_hour=0.25, spot=True)
    assert "give head_price_per_hour" in describe_cost(spot)
    assert "At most 3.50 per hour" in describe_cost(make_file(price_per_hour=0.25, spot=True, head_price_per_hour=1.0))


def test_nothing_starts_unless_the_cost_was_confirmed(file, calls):
    questions = []
    with pytest.raises(ClusterError, match="Nothing was started"):
        bring_cloud_up(file, print, questions.append)
    assert "At most 2.75 per hour" in questions[0]
    with pytest.raises(ClusterError, match="Confirm it on a terminal, or with"):
        bring_cloud_up(file, print, None)
    assert (calls, list_clouds()) == ([], [])


def test_a_cluster_is_brought_up_used_and_taken_down(file, calls):
    messages = []
    assert bring_cloud_up(file, messages.append, lambda _: True) == "rosenblatt"
    assert list_clouds() == ["rosenblatt"]
    folder = cloud_folder("rosenblatt")
    for path in (folder, folder / "credentials"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "credentials").iterdir()} == {0o600}
    assert (folder / "parts" / "requirements.txt").read_text() == "numpy==2.4.6\n"
    connection = connect_to_cloud("rosenblatt")
    assert connection.command[:3] == ("ssh", "-i", "/keys/k.pem")
    assert "ubuntu@192.0.2.7" in connection.command
    assert "rosenblatt.cluster.ray_demand auto 10" in connection.command[-1]
    assert json.dumps(connection.command).count(folder.joinpath("credentials", "token").read_text()) == 0
    with pytest.raises(ClusterError, match="already"):
        bring_cloud_up(file, print, lambda _: True)
    take_cloud_down("rosenblatt", messages.append)
    assert (calls, list_clouds(), folder.exists()) == (["up", "down"], [], False)
    with pytest.raises(ClusterError, match="There is no cluster 'rosenblatt' of a cloud; none is up"):
        connect_to_cloud("rosenblatt")


def test_what_was_started_is_taken_down_if_the_head_does_not_come_up(file, calls, monkeypatch):
    def fail(_):
        raise ClusterError("no head")

    monkeypatch.setattr(clouds, "locate_head", fail)
    with pytest.raises(ClusterError, match="no head"):
        bring_cloud_up(file, print, lambda _: True)
    assert (calls, list_clouds()) == (["up", "down"], [])


def test_machines_that_may_run_on_are_not_forgotten(file, calls, monkeypatch):
    bring_cloud_up(file, print, lambda _: True)

    def fail(command, _):
        raise ClusterError(f"`ray {command}` failed: no credentials.")

    monkeypatch.setattr(clouds, "call_ray", fail)
    with pytest.raises(ClusterError, match="may still run and cost"):
        take_cloud_down("rosenblatt", print)
    assert list_clouds() == ["rosenblatt"]


def test_missing_packages_and_programs_are_named(monkeypatch):
    monkeypatch.setattr("rosenblatt.cluster.ray_launcher.find_spec", lambda _: None)
    with pytest.raises(ClusterError, match="gcp needs google-api-python-client and google-auth"):
        check_launcher("gcp")
    monkeypatch.setattr("rosenblatt.cluster.ray_launcher.find_spec", lambda _: True)
    monkeypatch.setattr("rosenblatt.cluster.ray_launcher.which", lambda name: None if name == "rsync" else name)
    with pytest.raises(ClusterError, match="needs rsync on this machine"):
        check_launcher("aws")


def test_a_command_uses_a_cluster_that_is_up_and_ends_one_that_it_started(file, calls):
    messages = []
    with open_cluster(str(file), messages.append, lambda _: True) as connection:
        assert connection.name == "rosenblatt"
        assert calls == ["up"]
    assert calls == ["up", "down"]
    bring_cloud_up(file, print, lambda _: True)
    with open_cluster(str(file), messages.append), open_cluster("rosenblatt", messages.append):
        pass
    assert calls == ["up", "down", "up"]
    assert "rosenblatt: it is up, and stays so" in messages


def test_a_cluster_whose_command_was_killed_is_taken_over_and_taken_down(file, calls):
    bring_cloud_up(file, print, lambda _: True, is_temporary=True)
    messages = []
    with open_cluster(str(file), messages.append):  # while its command runs
        pass
    assert calls == ["up"]
    owner = cloud_folder("rosenblatt") / clouds.OWNER_FILE
    machine, process = owner.read_text().split("\n")
    dead = ProcessId.model_validate_json(process).model_copy(update={"start": "another"}).model_dump_json()
    owner.write_text(f"elsewhere\n{dead}")
    with open_cluster(str(file), messages.append):
        pass
    assert calls == ["up"]
    owner.write_text(f"{machine}\n{dead}")
    with open_cluster(str(file), messages.append):
        assert ProcessId.model_validate_json(owner.read_text().split("\n")[1]).is_running()
    assert calls == ["up", "down"]
    stays = "rosenblatt: it is up, and stays so"
    assert messages[:2] == [stays, stays]
    assert "was killed; this one takes it over" in messages[2]


def test_pods_and_partitions_are_opened_too(tmp_path, monkeypatch):
    path = tmp_path / "pods.yaml"
    path.write_text("provider: kubernetes\nimage: i\ncores: 4\nmemory_gb: 16\nmax_machines: 3\n")
    with open_cluster(str(path), print) as connection:
        assert connection.command[0] == "kubectl"
    monkeypatch.setattr("rosenblatt.cluster.slurm.shutil.which", lambda _: None)
    with pytest.raises(ClusterError, match="no sbatch"), open_cluster("slurm:cpu,nodes=2", print):
        pass


def test_a_cluster_of_a_cloud_is_listed(file, calls, run):
    bring_cloud_up(file, print, lambda _: True)
    assert "rosenblatt: machines of a cloud" in run("cluster", "status")[1]
    assert run("cluster", "status", "rosenblatt")[1] == "rosenblatt: head 192.0.2.7 is up\n"
    assert run("cluster", "down", "--all")[0] == 0
    assert json.loads(run("cluster", "status", "--json")[1]) == []


def test_machines_of_skypilot_are_those_of_a_hosts_file(file, run):
    import yaml

    status, output, errors = run("cluster", "manifest", str(file), "--skypilot")
    task = yaml.safe_load(output)
    assert (status, task["num_nodes"], task["resources"]["infra"]) == (0, 10, "aws/r")
    assert errors.splitlines()[1:3] == ["rosenblatt", "rosenblatt-worker1"]
