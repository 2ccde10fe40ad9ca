import io

from rosenblatt.spec.spec import Spec
from rosenblatt.training.population import EpochRecord
from rosenblatt.training.progress import training_progress


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
