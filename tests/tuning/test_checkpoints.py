"""Checkpoints of a search: what is saved, what is restored, and what is rejected."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import choice, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import JOURNAL, SearchCheckpoint
from rosenblatt.tuning.coordinator import SearchCoordinator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
FRAME = pl.DataFrame({name: X[:, k] for k, name in enumerate("abc")})
Y = (X[:, 0] > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SPACE = {"hidden_sizes": choice((4,), (6, 5)), "dropout": uniform(0.0, 0.5)}
FAST = {
    "epochs": 4, "min_epochs": 2, "folds": 2, "repeats": 1, "numeric_encoding": "standard", "trials": 3,
    "deterministic": True,
}  # fmt: skip


def new_search(y=Y, frame=FRAME, target=TARGET, **overrides):
    prepared = PreparedData(Dataset(frame, y), lambda spec: target.with_loss(spec, y))
    return SearchCoordinator(Spec.from_hyperparameters(**FAST | overrides).with_search_space(SPACE), prepared, None, 1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def search(folder):
    """A search that ran to its end, with its state in the folder."""
    search = new_search()
    checkpoint = SearchCheckpoint(search, folder)
    search.run(save_checkpoint=checkpoint.save)
    checkpoint.close()
    return search


def read_journal(folder):
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]


def test_a_new_folder_restores_nothing_and_is_created_by_the_first_save(folder):
    checkpoint = SearchCheckpoint(new_search(), folder)
    assert not checkpoint.restored
    assert not folder.exists()


def test_a_restored_search_has_the_trials_scores_and_decisions_of_the_saved_one(folder, search):
    restored = new_search()
    assert SearchCheckpoint(restored, folder).restored
    for restored_trial, trial in zip(restored.history.trials, search.history.trials, strict=True):
        assert (restored_trial.number, restored_trial.proposal.params, restored_trial.state, restored_trial.scores) == (
            trial.number,
            trial.proposal.params,
            trial.state,
            trial.scores,
        )
        assert (
            restored_trial.statistics.steps,
            restored_trial.statistics.n_parameters,
            restored_trial.statistics.epochs,
            restored_trial.proposal.resolved_spec,
        ) == (
            trial.statistics.steps,
            trial.statistics.n_parameters,
            trial.statistics.epochs,
            trial.proposal.resolved_spec,
        )
    assert restored.policy.decisions == search.policy.decisions
    assert restored.rng.bit_generator.state == search.rng.bit_generator.state
    assert isinstance(restored.history.trials[0].proposal.params["hidden_sizes"], tuple)
    assert restored.history.revision == len(search.history.trials)


def test_members_are_restored_bit_for_bit_with_their_epochs(folder, search):
    restored = new_search()
    SearchCheckpoint(restored, folder)
    n_compared = 0
    for restored_trial, trial in zip(restored.history.trials, search.history.trials, strict=True):
        for a, b in zip(restored_trial.folds.members, trial.folds.members, strict=True):
            if b is not None:
                np.testing.assert_array_equal(a.best.view(np.uint32), b.best.view(np.uint32))
                assert (a.best_epoch, a.best_score, a.history) == (b.best_epoch, b.best_score, b.history)
                n_compared += 1
    assert n_compared >= 2


def test_files_of_members_are_read_by_the_safetensors_library(folder, search):
    best = min(search.history.trials, key=lambda trial: trial.score)
    tensors = load_file(folder / f"trial-{best.number}.safetensors")
    for fold, member in enumerate(best.folds.members):
        np.testing.assert_array_equal(tensors[f"fold.{fold}.best"], member.best)
        assert tensors[f"fold.{fold}.order"].dtype == np.int64
        np.testing.assert_array_equal(tensors[f"fold.{fold}.counter"], member.state.counter)
    assert not list(folder.glob(".tmp*"))


def test_a_search_that_is_restored_after_its_end_trains_nothing_more(folder, search):
    restored = new_search()
    checkpoint = SearchCheckpoint(restored, folder)
    restored.run(save_checkpoint=checkpoint.save)
    assert sum(trial.statistics.steps for trial in restored.history.trials) == sum(
        trial.statistics.steps for trial in search.history.trials
    )
    assert [trial.state for trial in restored.history.trials] == [trial.state for trial in search.history.trials]


def test_the_journal_grows_only_by_what_has_changed(folder, search):
    old_content = (folder / JOURNAL).read_bytes()
    restored = new_search(trials=4)
    checkpoint = SearchCheckpoint(restored, folder)
    checkpoint.save()
    line = read_journal(folder)[-1]
    assert (line["trials"], line["decisions"]) == ([], [])
    restored.run(save_checkpoint=checkpoint.save)
    assert (folder / JOURNAL).read_bytes().startswith(old_content)
    added = read_journal(folder)[old_content.count(b"\n") + 1 :]
    assert {trial["number"] for line in added for trial in line["trials"]} >= {3}


def test_a_last_line_that_was_cut_off_is_removed(folder, search):
    content = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(content + b'{"trials": [{"num')
    restored = new_search()
    SearchCheckpoint(restored, folder)
    assert (folder / JOURNAL).read_bytes() == content
    assert [trial.scores for trial in restored.history.trials] == [trial.scores for trial in search.history.trials]


@pytest.mark.parametrize("budget", [{"trials": 9}, {"minutes": 1.0}, {"memory_gib": 0.5}])
def test_budgets_may_differ_when_a_search_is_resumed(folder, search, budget):
    assert SearchCheckpoint(new_search(**budget), folder).restored


@pytest.mark.parametrize(
    "overrides",
    [
        {"epochs": 5},
        {"seed": 1},
        {"y": 1 - Y},
        {"sampler": "random"},
        {"frame": FRAME.rename({"a": "b", "b": "a"})},
        {"frame": FRAME.with_columns(pl.col("a").cast(pl.Float32))},
        {"target": TARGET.model_copy(update={"labels": ("yes", "no")})},
        {"target": TARGET.model_copy(update={"names": ("z",)})},
    ],
)
def test_the_state_of_a_search_with_other_data_or_hyperparameters_is_rejected(folder, search, overrides):
    with pytest.raises(ModelFileError, match="another search") as error:
        SearchCheckpoint(new_search(**overrides), folder)
    assert repr(str(folder)) in str(error.value)


class FullDisk:
    """A file that holds part of a line before the disk is full."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_search_whose_first_write_failed_is_saved_completely_by_the_next(folder, monkeypatch):
    search, messages, open_path = new_search(), [], Path.open
    checkpoint = SearchCheckpoint(search, folder, messages.append)
    n_writes = 0

    def open_full(path, mode="r", *arguments, **options):
        nonlocal n_writes
        file = open_path(path, mode, *arguments, **options)
        n_writes += mode == "ab"
        return FullDisk(file) if mode == "ab" and n_writes == 1 else file

    monkeypatch.setattr(Path, "open", open_full)
    checkpoint.save()
    assert len(messages) == 1
    assert (folder / JOURNAL).read_bytes() == b""
    assert not SearchCheckpoint(new_search(), folder).restored
    search.run(save_checkpoint=checkpoint.save)
    checkpoint.close()
    restored = new_search()
    assert SearchCheckpoint(restored, folder).restored
    assert [t.scores for t in restored.history.trials] == [t.scores for t in search.history.trials]
    assert restored.policy.decisions == search.policy.decisions


def test_changes_of_a_failed_write_are_part_of_the_next(folder, monkeypatch):
    search = new_search(trials=40)
    checkpoint = SearchCheckpoint(search, folder, lambda _: None)
    n_saves, append = 0, SearchCheckpoint._append

    def fail_once(self, state):
        if n_saves == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, state)

    def save():
        nonlocal n_saves
        n_saves += 1
        checkpoint.save()

    monkeypatch.setattr(SearchCheckpoint, "_append", fail_once)
    search.run(save_checkpoint=save)
    assert n_saves > 2
    restored = new_search(trials=40)
    SearchCheckpoint(restored, folder)
    assert [t.scores for t in restored.history.trials] == [t.scores for t in search.history.trials]


def test_a_header_that_was_cut_off_starts_a_new_search(folder, search):
    content = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(content[:20])
    assert not SearchCheckpoint(new_search(), folder).restored
    assert (folder / JOURNAL).read_bytes() == b""


@pytest.mark.parametrize("line", [b"3\n", b"null\n", b"[]\n", b'{"trials": 3}\n'])
def test_a_journal_with_a_line_of_another_kind_is_rejected(folder, search, line):
    content = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(content + line)
    with pytest.raises(ModelFileError, match="not the state of a search, or is damaged"):
        SearchCheckpoint(new_search(), folder)
    (folder / JOURNAL).write_bytes(line)
    with pytest.raises(ModelFileError, match="not the state of a search, or is damaged"):
        SearchCheckpoint(new_search(), folder)


@pytest.mark.parametrize("content", [b"nonsense", b"nonsense\n", b'{"no": "head"}\n', b"\xff\xfe\n"])
def test_a_journal_that_is_not_the_state_of_a_search_is_rejected(folder, content):
    folder.mkdir()
    (folder / JOURNAL).write_bytes(content)
    with pytest.raises(ModelFileError, match="not the state of a search, or is damaged"):
        SearchCheckpoint(new_search(), folder)


def test_damaged_members_are_rejected_and_without_their_file_the_trial_is_restored(folder, search):
    path = next(iter(sorted(folder.glob("trial-*.safetensors"))))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelFileError, match="is damaged") as error:
        SearchCheckpoint(new_search(), folder)
    assert repr(str(path)) in str(error.value)
    path.unlink()
    restored = new_search()
    SearchCheckpoint(restored, folder)
    assert [trial.scores for trial in restored.history.trials] == [trial.scores for trial in search.history.trials]


def test_a_folder_that_cannot_be_written_is_reported_once_and_the_search_continues(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    messages = []
    search = new_search()
    checkpoint = SearchCheckpoint(search, tmp_path / "file" / "state", messages.append)
    search.run(save_checkpoint=checkpoint.save)
    checkpoint.save()
    checkpoint.close()
    assert len(messages) == 1
    assert len(search.history.trials) == 3
