"""Generated files of `ray up`: accepted by Ray's schema, and started for real on machines that SSH reaches."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rosenblatt.cluster.clouds import driver_command
from rosenblatt.cluster.cluster_file import CloudFile
from rosenblatt.cluster.ray_config import ray_cluster_config, validate_ray_config
from rosenblatt.cluster.ray_launcher import call_ray, locate_head
from rosenblatt.cluster.security import CertificateAuthority
from rosenblatt.errors import ClusterError
from tests.cluster.machines import REPOSITORY, machines

pytest.importorskip("ray", reason="Ray is not installed")
OLD_AUTOSCALER = "export RAY_enable_autoscaler_v2=0;"  # version 2 never sees workers of the provider `local`
DRIVER = """
import json, time, ray
ray.init(address="auto", log_to_driver=False)
deadline = time.monotonic() + 90
while time.monotonic() < deadline and sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.5)
print("resources", json.dumps(ray.cluster_resources()))
"""


def make_file(provider="aws", **settings):
    required = {"aws": {}, "gcp": {"project": "p", "zone": "z"}, "azure": {"resource_group": "g"}}[provider]
    values = {"region": "r", "machine": "m8", "cores": 8, "max_machines": 4} | required | settings
    return CloudFile(provider=provider, **values)


def make_config(file, folder=Path("/local")):
    return ray_cluster_config(file, "c0ffee", folder / "credentials", folder / "parts", "3.12")


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
@pytest.mark.parametrize("spot", [False, True])
def test_ray_accepts_the_file_of_each_provider(provider, spot):
    config = make_config(make_file(provider, spot=spot, gpus=1, min_machines=1, idle_minutes=7.0))
    validate_ray_config(json.loads(json.dumps(config)))
    worker, head = (config["available_node_types"][name] for name in ("worker", "head"))
    assert worker["resources"] == {"CPU": 8, "GPU": 1, "rosenblatt_machine": 1}
    assert (worker["min_workers"], worker["max_workers"], config["idle_timeout_minutes"]) == (1, 4, 7.0)
    assert head["resources"] == {"CPU": 0}
    is_spot = [word in json.dumps(node["node_config"]) for node in (worker, head) for word in ("pot", "preemptible")]
    assert any(is_spot[:2]) == spot
    assert not any(is_spot[2:])


def test_a_version_of_ray_with_another_schema_is_reported():
    config = make_config(make_file()) | {"unknown": 1}
    with pytest.raises(ClusterError, match=r"does not accept the generated cluster file: .*unknown"):
        validate_ray_config(config)


def test_nodes_start_with_token_and_tls_and_without_dashboard():
    config = make_config(make_file())
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = "\n".join(config[name])
        assert 'export RAY_AUTH_MODE="token"' in commands
        assert 'export RAY_USE_TLS="1"' in commands
        assert "rosenblatt.cluster.node_certificate" in commands
        assert "ray stop" not in commands
    assert "--include-dashboard=false" in config["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in config["head_start_ray_commands"][-1]


def test_images_of_azure_have_four_parts():
    config = make_config(make_file("azure", image="a:b:c:d"))
    assert config["available_node_types"]["head"]["node_config"]["azure_arm_parameters"]["imageSku"] == "c"
    with pytest.raises(ClusterError, match="PUBLISHER:OFFER:SKU:VERSION"):
        make_config(make_file("azure", image="ubuntu"))


@pytest.mark.slow_cluster
@pytest.mark.skipif(shutil.which("rsync") is None, reason="`ray up` needs rsync")
def test_ray_up_starts_a_cluster_from_the_generated_file(tmp_path):
    """Only the provider, which gives machines of the rig in place of new ones, and the environment differ."""
    file = make_file(cores=1, max_machines=1, user="root", name="rig")
    for folder in ("credentials", "parts"):
        (tmp_path / folder).mkdir()
    CertificateAuthority("rig").write(tmp_path / "credentials")
    environment = REPOSITORY / ".venv"
    with machines(2) as (head, worker):
        config = make_config(file, tmp_path)
        del config["available_node_types"], config["head_node_type"]
        key = Path(shutil.which("ssh")).parents[1] / "user"
        config |= {
            "provider": {"type": "local", "head_ip": head.address, "worker_ips": [worker.address]},
            "auth": {"ssh_user": "root", "ssh_private_key": str(key)},
            "setup_commands": [f"test -e ~/rosenblatt/env || ln -s {environment.resolve()} ~/rosenblatt/env"],
            "head_setup_commands": [],
            "min_workers": 1,
        }
        config["head_start_ray_commands"][-1] = f"{OLD_AUTOSCALER} {config['head_start_ray_commands'][-1]}"
        (tmp_path / "ray.yaml").write_text(json.dumps(config))
        call_ray("up", tmp_path / "ray.yaml")
        location = locate_head(tmp_path / "ray.yaml")
        assert location.address == head.address
        *ssh, remote = driver_command(file, location, "c0ffee")
        remote = remote.replace("-P -m rosenblatt.tuning.ray_driver", f"-c {shlex.quote(DRIVER)}")
        driver = subprocess.run([*ssh, remote], capture_output=True, text=True, timeout=150, check=False)
        assert driver.stdout.startswith("resources "), driver.stderr
        assert len(driver.stdout.splitlines()) == 1
        resources = json.loads(driver.stdout.removeprefix("resources "))
        assert (resources["CPU"], resources["rosenblatt_machine"]) == (1.0, 1.0)
        for machine in (head, worker):
            files = machine.run("stat -c '%a %n' ~/rosenblatt/credentials/*").stdout.splitlines()
            assert {line.split()[0] for line in files} == {"600"}
            assert ":8265 " not in machine.run("ss -ltn").stdout
