"""Speed of work on many machines, what the network carries, and what a lost machine costs; part by part.

    python benchmarks/cluster.py search [--trials 1000] [--repeats 3] [--json]
    python benchmarks/cluster.py peers [--trials 40] [--repeats 3] [--functions PyTorch,...]
        [--searches "rosenblatt.tune,Ray Tune"] [--json]
    python benchmarks/cluster.py up --wheels FOLDER [--machines 3] [--json]
    python benchmarks/cluster.py simulate [--nodes 4] [--trials-per-node 250] [--item-seconds 2] [--json]
    python benchmarks/cluster.py network [--repeats 3] [--json]
    python benchmarks/cluster.py bytes [--machines 3] [--rows 250000] [--json]
    python benchmarks/cluster.py sizes [--trials 30] [--json]
    python benchmarks/cluster.py faults [--machines 3] [--repeats 3] [--json]

search: small trials, all trained to their end, on two nodes of Ray with one core each, against two threads without
Ray, both on this machine, which should have two free cores. The nodes share them with the controller, the driver and
the processes of Ray. The figure is the speed with Ray divided by the speed without, medians over repeats in turn;
starting the workers does not count, as it happens once for a search. The ratio of the processor times, of all processes
together, says the same on a machine that does other work too.

peers: trials a minute beside Ray Tune, Optuna with joblib and Optuna with Dask, each on two processes or nodes of one
core. All search at random in one space, on one table, with the same epochs, without early stopping. The peers train
what their users do: a network of PyTorch, or scikit-learn's MLPClassifier. With a function that takes no time, only the
orchestration is compared. The lowest and the median validation loss are shown beside. Needs the extra `benchmarks`.

up: `rosenblatt cluster up` on bare machines, made of namespaces on this one (needs root), with an index that serves the
wheels of FOLDER (pip download -r <(rosenblatt cluster requirements) -d FOLDER), by uv if it is on PATH, or else by pip.

simulate: the coordinator of a search with workers that only pretend to train: an item takes as long as one that was
recorded (scaled to a mean of --item-seconds), and its result comes back after the time for which machines collect
results. The clock is virtual, but advances by the processor time that the controller really needs to propose, pack,
unpack, compare and promote. Efficiency is the busy time of the machines divided by their number and the duration.

network: one convolutional network on two processes with one core each, connected by gloo without Ray, against one
process with one core, with the same batches, without and with batch normalization. The figure is the time of an epoch
on one divided by that on two; by processor time it does not depend on other work of the machine.

bytes: bytes that a search sends to each machine, counted at its link, divided by the size of what its items share
(encoded rows and folds). Machines are namespaces on this one (needs root).

sizes: bytes of an item and of a result, of a search of the default space on 400 rows and 2 columns, and of small
networks on a table of 26 MB. One thread of this machine trains; nothing is sent.

faults: a search on machines in namespaces (needs root), one of which is switched off, or cut off silently, when a third
of the trials have ended. Delay: time until the last item of the lost machine runs elsewhere; and the end, beside a
search with one machine less from that moment on. Work lost: epochs that were trained twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import make_parser

PARTS = ("search", "peers", "up", "simulate", "network", "bytes", "sizes", "faults")


def measure(options: Any) -> list[dict[str, Any]]:
    """Measure a part; its module is imported when it is needed, as some need root, or packages of peers."""
    if options.part == "search":
        from cluster_search import measure_search

        return [measure_search(options.trials or 1000, options.repeats)]
    if options.part == "peers":
        from cluster_peers import measure_peers

        searches = options.searches.split(",") if options.searches else None
        return measure_peers(options.trials or 40, options.repeats, options.functions.split(","), searches)
    if options.part == "up":
        from cluster_up import measure_up

        return [measure_up(options.wheels, options.machines)]
    if options.part == "network":
        from cluster_network import measure_network

        return [measure_network(options.repeats, normalization) for normalization in ("none", "batch")]
    if options.part == "bytes":
        from cluster_bytes import measure_bytes

        return [measure_bytes(options.machines, options.rows)]
    if options.part == "sizes":
        from cluster_sizes import measure_sizes

        return measure_sizes(options.trials or 30)
    if options.part == "faults":
        from cluster_faults import measure_faults

        return measure_faults(options.machines, options.repeats)
    from cluster_simulate import measure_simulation

    nodes = [int(number) for number in options.nodes.split(",")]
    return measure_simulation(nodes, options.item_seconds, options.trials_per_node)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--functions", default="PyTorch,scikit-learn,a trivial function")
    parser.add_argument("--searches", help="by default all; the first is the one to compare with")
    parser.add_argument("--nodes", default="4")
    parser.add_argument("--item-seconds", type=float, default=0.0, help="by default as recorded")
    parser.add_argument("--trials-per-node", type=int, default=250)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--rows", type=int, default=250_000)
    options = parser.parse_args()
    rows = measure(options)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            ", ".join(
                f"{name} {value if isinstance(value, str) else format(value, ',.4g')}" for name, value in row.items()
            )
        )


if __name__ == "__main__":
    main()
