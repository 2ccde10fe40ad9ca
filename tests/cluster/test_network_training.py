"""One network that several machines train, on real machines with Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from rosenblatt.models.model_file import load_model
from tests.cluster.machines import REPOSITORY, host_line, machines
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow_cluster, pytest.mark.torch]

SIDE, N_IMAGES = 16, 60
# Adam would amplify gradients of 0 up to rounding
SETTINGS = [
    "--kind",
    "cnn",
    "--members",
    "1",
    "--optimizer",
    "momentum",
    "--channels",
    "4,8",
    "--batch-size",
    "16",
    "--precision",
    "float32",
]


@pytest.fixture
def photos(tmp_path):
    """A folder of images of two classes."""
    rng = np.random.default_rng(1)
    for k in range(N_IMAGES):
        pixels = rng.integers(0, 120, (SIDE, SIDE, 3)) + 100 * (k % 2)
        path = tmp_path / "photos" / ("dark", "bright")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "photos"


def fit(photos, out, *options):
    """Run `rosenblatt fit`; return what it printed."""
    command = [sys.executable, "-m", "rosenblatt", "fit", str(photos), *SETTINGS, "--out", str(out), *options]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent, check=False)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    return output


def network(path):
    (trial,) = load_model(path).trials
    (trained,) = trial.networks
    return trained


@pytest.mark.parametrize("loss", ["power_off", "cut"])
def test_machines_train_a_network_together_and_go_on_when_one_is_lost(photos, tmp_path, loss):
    epochs = ("--epochs", "200", "--patience", "200")
    fit(photos, tmp_path / "alone.rosenblatt", *epochs)
    expected = network(tmp_path / "alone.rosenblatt")
    with machines(3) as rig:
        hosts = tmp_path / "hosts.txt"
        hosts.write_text("\n".join(map(host_line, rig)))

        def trains():
            return rig[2].processes("RankWorker.lead") or rig[2].processes("RankWorker.follow")

        def lose_a_machine():
            wait_until(trains, timeout=120, description="a rank that trains")
            getattr(rig[2], loss)()

        saboteur = Thread(target=lose_a_machine)
        saboteur.start()
        output = fit(photos, tmp_path / "together.rosenblatt", *epochs, "--on", str(hosts), "--nodes-per-network", "3")
        saboteur.join()
    assert output.count("each network is trained by 2 machines of 3, with the same batches") == 1
    trained = network(tmp_path / "together.rosenblatt")
    assert trained.n_epochs == expected.n_epochs
    np.testing.assert_allclose(trained.theta, expected.theta, rtol=1e-3, atol=1e-4)
