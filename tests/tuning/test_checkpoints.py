"""The state of a search in a folder: what is written, what is restored, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from rosenblatt.data.dataset import Data
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.dimensions import choice, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import JOURNAL, Keeper
from rosenblatt.tuning.coordinator import Search

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
FRAME = pl.DataFrame({name: X[:, k] for k, name in enumerate("abc")})
Y = (X[:, 0] > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SPACE = {"hidden_sizes": choice((4,), (6, 5)), "dropout": uniform(0.0, 0.5)}
FAST = {
    "epochs": 4, "first_rung": 2, "folds": 2, "repeats": 1, "numbers": "standard", "trials": 3, "deterministic": True
}  # fmt: skip


def new_search(y=Y, **changed):
    prepared = Prepared(Data(FRAME, y), lambda spec: TARGET.taught_by(spec, y))
    return Search(Spec.of(**FAST | changed).searching(SPACE), prepared, None, 1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def kept(folder):
    """A search that ran to its end, with its state in the folder."""
    search = new_search()
    keeper = Keeper(search, folder)
    search.run(keep=keeper.keep)
    keeper.close()
    return search


def lines_of(folder):
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]


def test_a_new_folder_restores_nothing_and_is_not_made_before_there_is_something_to_keep(folder):
    keeper = Keeper(new_search(), folder)
    assert not keeper.restored
    assert not folder.exists()


def test_a_restored_search_has_the_trials_scores_and_decisions_of_the_first(folder, kept):
    again = new_search()
    assert Keeper(again, folder).restored
    for ours, theirs in zip(again.trials, kept.trials, strict=True):
        assert (ours.number, ours.values, ours.state, ours.scores) == (
            theirs.number,
            theirs.values,
            theirs.state,
            theirs.scores,
        )
        assert (ours.steps, ours.size, ours.epochs, ours.chosen) == (
            theirs.steps,
            theirs.size,
            theirs.epochs,
            theirs.chosen,
        )
    assert again.decisions == kept.decisions
    assert again.rng.bit_generator.state == kept.rng.bit_generator.state
    assert isinstance(again.trials[0].values["hidden_sizes"], tuple)
    assert not again.changed


def test_members_are_restored_bit_for_bit_with_their_epochs(folder, kept):
    again = new_search()
    Keeper(again, folder)
    compared = 0
    for ours, theirs in zip(again.trials, kept.trials, strict=True):
        for a, b in zip(ours.members, theirs.members, strict=True):
            if b is not None:
                np.testing.assert_array_equal(a.best.view(np.uint32), b.best.view(np.uint32))
                assert (a.best_epoch, a.best_score, a.history) == (b.best_epoch, b.best_score, b.history)
                compared += 1
    assert compared >= 2


def test_files_of_members_are_read_by_the_safetensors_library(folder, kept):
    best = max(kept.trials, key=lambda trial: trial.score)
    tensors = load_file(folder / f"trial-{best.number}.safetensors")
    for fold, member in enumerate(best.members):
        np.testing.assert_array_equal(tensors[f"fold.{fold}.best"], member.best)
        assert tensors[f"fold.{fold}.order"].dtype == np.int64
        np.testing.assert_array_equal(tensors[f"fold.{fold}.counter"], member.state.counter)
    assert not list(folder.glob("*.part"))


def test_a_search_that_is_restored_after_its_end_trains_nothing_more(folder, kept):
    again = new_search()
    keeper = Keeper(again, folder)
    again.run(keep=keeper.keep)
    assert sum(trial.steps for trial in again.trials) == sum(trial.steps for trial in kept.trials)
    assert [trial.state for trial in again.trials] == [trial.state for trial in kept.trials]


def test_the_journal_only_grows_and_only_by_what_has_changed(folder, kept):
    before = (folder / JOURNAL).read_bytes()
    again = new_search(trials=4)
    keeper = Keeper(again, folder)
    keeper.keep()
    line = lines_of(folder)[-1]
    assert (line["trials"], line["decisions"]) == ([], [])
    again.run(keep=keeper.keep)
    assert (folder / JOURNAL).read_bytes().startswith(before)
    added = lines_of(folder)[before.count(b"\n") + 1 :]
    assert {trial["number"] for line in added for trial in line["trials"]} >= {3}


def test_a_last_line_that_was_cut_off_is_removed(folder, kept):
    whole = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(whole + b'{"trials": [{"num')
    again = new_search()
    Keeper(again, folder)
    assert (folder / JOURNAL).read_bytes() == whole
    assert [trial.scores for trial in again.trials] == [trial.scores for trial in kept.trials]


@pytest.mark.parametrize("budget", [{"trials": 9}, {"minutes": 1.0}, {"memory": 0.5}])
def test_budgets_may_differ_when_a_search_is_resumed(folder, kept, budget):
    assert Keeper(new_search(**budget), folder).restored


@pytest.mark.parametrize("changed", [{"epochs": 5}, {"seed": 1}, {"y": 1 - Y}, {"sampler": "random"}])
def test_the_state_of_a_search_with_other_rows_or_hyperparameters_is_refused(folder, kept, changed):
    with pytest.raises(ModelFileError, match="another search") as error:
        Keeper(new_search(**changed), folder)
    assert repr(str(folder)) in str(error.value)


@pytest.mark.parametrize("content", [b"nonsense\n", b'{"no": "head"}\n', b"\xff\xfe\n"])
def test_a_journal_that_is_not_the_state_of_a_search_is_refused(folder, content):
    folder.mkdir()
    (folder / JOURNAL).write_bytes(content)
    with pytest.raises(ModelFileError, match="not the state of a search, or was damaged"):
        Keeper(new_search(), folder)


def test_damaged_members_are_refused_and_without_their_file_the_trial_is_restored(folder, kept):
    path = next(iter(sorted(folder.glob("trial-*.safetensors"))))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelFileError, match="is damaged") as error:
        Keeper(new_search(), folder)
    assert repr(str(path)) in str(error.value)
    path.unlink()
    again = new_search()
    Keeper(again, folder)
    assert [trial.scores for trial in again.trials] == [trial.scores for trial in kept.trials]


def test_a_folder_that_cannot_be_written_is_reported_once_and_the_search_continues(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    messages = []
    search = new_search()
    keeper = Keeper(search, tmp_path / "file" / "state", messages.append)
    search.run(keep=keeper.keep)
    keeper.keep()
    keeper.close()
    assert len(messages) == 1
    assert len(search.trials) == 3
