import numpy as np
import pytest

from rosenblatt.models.training_rows import MAX_HASHES, RowHashes, TrainingOverlap, TrainingRows

HASHES = np.random.default_rng(0).integers(2**64, size=100, dtype=np.uint64)


def _from_hashes(hashes):
    return TrainingRows.from_hashes(RowHashes(hashes, hashes))


def test_rows_of_a_small_table_are_all_recognized():
    rows = _from_hashes(np.concatenate([HASHES, HASHES]))
    assert rows.is_complete
    assert rows.overlap(np.concatenate([HASHES[:30], HASHES[:30] + np.uint64(1)])) == TrainingOverlap(60, 60, 30)
    assert rows.overlap(HASHES + np.uint64(1)).is_none


@pytest.mark.parametrize("copies", [1, 3])
def test_the_overlap_with_a_large_table_is_estimated_from_a_sample(copies):
    rng = np.random.default_rng(1)
    hashes = rng.integers(2**64, size=4 * MAX_HASHES, dtype=np.uint64)
    rows = _from_hashes(np.repeat(hashes, copies))
    assert not rows.is_complete
    assert rows.hashes.nbytes == 8 * MAX_HASHES
    overlap = rows.overlap(np.concatenate([hashes[:3000], rng.integers(2**64, size=1000, dtype=np.uint64)]))
    assert overlap.rows == 4000
    assert 850 < overlap.checked < 1150
    assert overlap.seen / overlap.checked == pytest.approx(0.75, abs=0.05)
    assert not overlap.is_certain


@pytest.mark.parametrize(("overlap", "line"), [
    (TrainingOverlap(300, 300, 0), "none of the 300 rows were in training (the same inputs and targets)"),
    (TrainingOverlap(300, 300, 240), "240 of the 300 rows were in training (the same inputs and targets)"),
    (TrainingOverlap(3000, 3000, 3000), "all of the 3,000 rows were in training (the same inputs and targets)"),
    (TrainingOverlap(1, 1, 0), "the row was not in training (the same inputs and targets)"),
    (TrainingOverlap(1, 1, 1), "the row was in training (the same inputs and targets), so"),
    (TrainingOverlap(900, 60, 0), "0 of 60 randomly chosen rows were in training (the same inputs and targets)"),
    (TrainingOverlap(900, 60, 15), "15 of 60 randomly chosen rows (about 25%) were in training (the same inputs"),
    (TrainingOverlap(3, 0, 0), "it is not known whether the model was trained on some of these rows"),
])  # fmt: skip
def test_an_overlap_is_described_with_what_is_known_of_it(overlap, line):
    assert overlap.describe().startswith(line)
    assert ("too optimistic for new rows" in overlap.describe()) == bool(overlap.seen)


def test_a_few_equal_rows_do_not_make_scores_too_optimistic():
    line = TrainingOverlap(300, 300, 1).describe()
    assert line == "1 of the 300 rows was in training (the same inputs and targets)"
