import io

from rosenblatt.spec.spec import Spec
from rosenblatt.training.population import EpochRecord
from rosenblatt.training.progress import training_progress
from rosenblatt.tuning.progress import MAX_NODE_LINES, format_nodes
from rosenblatt.tuning.workers import NodeStatus


def test_a_disabled_progress_bar_shows_nothing():
    with training_progress(enabled=False) as watch:
        assert watch is None


def test_the_bar_counts_members_and_is_full_at_the_end_though_they_stop_early(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with training_progress(enabled=True) as watch:
        on_epoch_end = watch(Spec.from_hyperparameters(epochs=100), 2)
        progress = next(cell.cell_contents for cell in watch.__closure__ if hasattr(cell.cell_contents, "tasks"))
        on_epoch_end(EpochRecord(0, 1, 0.5, 0.4))
        assert progress.tasks[0].completed == 1
        assert progress.tasks[0].fields["note"] == "0 of 2 networks done, validation loss 0.4"
        on_epoch_end(EpochRecord(0, 2, 0.4, 0.3, last=True))
        on_epoch_end(EpochRecord(1, 1, 0.5, 0.5, last=True))
        assert progress.finished
        assert progress.tasks[0].fields["note"] == "2 of 2 networks done, validation loss 0.4"


def test_machines_of_a_cluster_are_listed_with_what_they_do():
    nodes = [NodeStatus("b", 0, is_lost=True), NodeStatus("alpha", 1, 3, (4, 7)), NodeStatus("c", 8)]
    assert format_nodes(nodes) == [
        "alpha  1 thread, 3 work items of trials 4, 7",
        "c      8 threads, idle",
        "b      lost; its work was moved",
    ]
    assert format_nodes([]) == []


def test_a_machine_cannot_control_the_terminal_by_its_name():
    assert format_nodes([NodeStatus("a\x1b[2J", 1)]) == ["'a\\x1b[2J'  1 thread, idle"]


def test_many_machines_are_counted():
    nodes = [NodeStatus(f"n{k}", 4) for k in range(20)] + [NodeStatus("x", 4, is_lost=True)]
    lines = format_nodes(nodes)
    assert len(lines) == MAX_NODE_LINES
    assert lines[-1] == "... of 21 machines with 80 threads, and 1 lost"
