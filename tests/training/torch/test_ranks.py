"""Ranks: sums and copies between them, and loss of a rank."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import psutil
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.training.torch import ranks as ranks_module
from rosenblatt.training.torch.ranks import Listener, RankLostError, Ranks

pytestmark = pytest.mark.torch

HOST = "127.0.0.1"


def run_ranks(size, work, host=HOST):
    """Call `work(ranks)` in as many threads; return the results."""
    listener = Listener(host, "secret")

    def run(rank):
        place = listener if rank == 0 else listener.rendezvous
        return work(Ranks(place, rank, size, host, torch.device("cpu")))

    with ThreadPoolExecutor(size) as executor:
        return list(executor.map(run, range(size)))


def test_all_rows_belong_to_one_rank():
    def parts(ranks):
        return [np.arange(n)[ranks.part(n)].tolist() for n in (3, 10, 2)]

    parts_of_ranks = run_ranks(3, parts)
    for k, n in enumerate((3, 10, 2)):
        assert [row for parts in parts_of_ranks for row in parts[k]] == list(range(n))


def test_tensors_are_summed_copied_and_gathered():
    def work(ranks):
        total, copy = torch.full((2,), ranks.rank + 1.0), torch.full((2,), ranks.rank + 5)
        ranks.sum(total)
        ranks.broadcast(copy)
        gathered = ranks.gather(torch.full((ranks.rank, 2), float(ranks.rank)), [0, 1, 2])
        return total.tolist(), copy.tolist(), gathered[:, 0].tolist()

    assert run_ranks(3, work) == [([6.0, 6.0], [5, 5], [1.0, 2.0, 2.0])] * 3


def test_the_others_end_at_once_if_a_rank_leaves():
    def work(ranks):
        if ranks.rank == 1:
            ranks.close()
            return "left"
        with pytest.raises(RankLostError):
            ranks.sum(torch.zeros(1))
        return "noticed"

    assert run_ranks(3, work) == ["noticed", "left", "noticed"]


def test_the_others_end_if_a_rank_gives_no_sign_of_life(monkeypatch):
    monkeypatch.setattr(ranks_module, "HEARTBEAT_INTERVAL_S", 0.02)
    monkeypatch.setattr(ranks_module, "LOST_AFTER_S", 0.3)
    monkeypatch.setattr(ranks_module, "WAIT_INTERVAL_S", 0.05)

    has_noticed = Event()

    def work(ranks):
        if ranks.rank == 1:
            ranks._heartbeat.close()  # as if the network was cut
            assert has_noticed.wait(10)
        else:
            with pytest.raises(RankLostError, match="no sign of life of rank 1"):
                ranks.sum(torch.zeros(1))
            has_noticed.set()
        ranks.close()

    run_ranks(2, work)


def test_ranks_listen_on_the_address_of_the_cluster_only():
    def work(ranks):
        ranks.sum(torch.zeros(1))
        ranks.sum(torch.zeros(1))  # all have connected
        connections = psutil.Process(os.getpid()).net_connections("tcp")
        addresses = {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
        ranks.sum(torch.zeros(1))
        return addresses

    for addresses in run_ranks(2, work, "127.0.0.2"):
        assert "127.0.0.2" in addresses
        assert not addresses & {"0.0.0.0", "::"}


def test_ranks_that_do_not_meet_say_where(monkeypatch):
    monkeypatch.setattr(ranks_module, "RENDEZVOUS_TIMEOUT_S", 0.2)
    listener = Listener(HOST, "secret")
    with pytest.raises(RankLostError, match=f"2 ranks did not meet at 127.0.0.1:{listener.rendezvous.port}"):
        Ranks(listener, 0, 2, HOST, torch.device("cpu"))
