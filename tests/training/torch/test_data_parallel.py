"""Several ranks train one network as one machine does."""

from threading import Thread

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.training.population import train_member
from rosenblatt.training.torch.data_parallel import follow, lead, max_ranks
from rosenblatt.training.torch.ranks import Listener, RankLostError, Ranks
from tests.training.media import KINDS, make_member, make_rows

pytestmark = pytest.mark.torch

CPU, HOST = torch.device("cpu"), "127.0.0.1"
GO = np.zeros(1, np.uint8)
VARIANTS = {
    **{kind: (kind, {}) for kind in KINDS if kind != "mlp"},
    "batch normalization": ("cnn", {"normalization": "batch", "batch_size": 26, "mixup": 0.0}),
    "clipping and decay": ("cnn", {"clip_norm": 0.5, "weight_decay": 0.01, "max_norm": 1.0, "l1": 1e-4}),
    "all augmentations": ("cnn", {"crop": 0.2, "flip": True, "cutout": 0.3, "dropout": 0.2, "mixup": 0.4}),
    "dropout of channels": ("channel_mlp", {"dropout": 0.3}),
    "dropout of steps": ("tags", {"hidden_sizes": (8,), "dropout": 0.3}),
    "plateau": ("lstm", {"schedule": "plateau", "plateau_patience": 1, "epochs": 6}),
    "one cycle": ("gru", {"schedule": "one_cycle", "dropout_schedule": "cosine"}),
    "stratified": ("depthwise", {"batch_order": "stratified"}),
}


def train_with_ranks(member, rows, size, target_epochs=None):
    """Train a member by several ranks, each a thread of this process."""
    listener = Listener(HOST, "secret")
    followers = [
        Thread(
            target=lambda rank=rank: follow(member.copy(), rows, Ranks(listener.rendezvous, rank, size, HOST, CPU), 1)
        )
        for rank in range(1, size)
    ]
    for thread in followers:
        thread.start()
    ranks = Ranks(listener, 0, size, HOST, CPU)
    records = list(lead(member, rows, None, GO, target_epochs, ranks=ranks, threads=1))
    for thread in followers:
        thread.join(timeout=10)
        assert not thread.is_alive()
    return records


@pytest.mark.parametrize(("name", "size"), [(name, 2 + k % 2) for k, name in enumerate(VARIANTS)])
def test_several_ranks_train_a_network_as_one_machine_does(name, size):
    kind, hyperparameters = VARIANTS[name]
    rows, media = make_rows(kind)
    # Adam would amplify gradients of 0 up to rounding
    hyperparameters = {"optimizer": "momentum", "learning_rate": 0.01, "epochs": 2, **hyperparameters}
    single, parallel = (make_member(kind, 0, rows, media, **hyperparameters) for _ in range(2))
    expected = list(train_member(single, rows, None, GO))
    records = train_with_ranks(parallel, rows, size)
    np.testing.assert_allclose(parallel.state.theta, single.state.theta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(records, expected, rtol=1e-5)
    assert parallel.best_epoch == single.best_epoch


def test_more_ranks_than_rows_of_a_batch_are_not_used():
    rows, media = make_rows("gru")
    assert max_ranks(make_member("gru", 0, rows, media, batch_size=16)) == 16
    assert max_ranks(make_member("gru", 0, rows, media, batch_size="full")) == 78


def test_a_network_that_ranks_trained_in_parts_equals_one_that_one_machine_trained():
    """Another number of ranks goes on from an epoch."""
    rows, media = make_rows("cnn")
    single, parallel = (make_member("cnn", 0, rows, media, optimizer="momentum") for _ in range(2))
    list(train_member(single, rows, None, GO))
    train_with_ranks(parallel, rows, 3, target_epochs=2)
    train_with_ranks(parallel, rows, 2)
    np.testing.assert_allclose(parallel.state.theta, single.state.theta, rtol=1e-5, atol=1e-6)
    assert len(parallel.history) == 4


def test_ranks_end_when_the_leader_is_stopped():
    rows, media = make_rows("gru")
    member, stop = make_member("gru", 0, rows, media, epochs=1000), np.zeros(1, np.uint8)
    listener, errors = Listener(HOST, "secret"), []

    def follow_until_the_end():
        try:
            follow(member.copy(), rows, Ranks(listener.rendezvous, 1, 2, HOST, CPU), 1)
        except RankLostError as error:
            errors.append(error)

    follower = Thread(target=follow_until_the_end)
    follower.start()
    for record in lead(member, rows, None, stop, ranks=Ranks(listener, 0, 2, HOST, CPU), threads=1):
        stop[0] = record.epoch == 2
    follower.join(timeout=10)
    assert not follower.is_alive()
    assert len(errors) == 1
    assert len(member.history) == 2
