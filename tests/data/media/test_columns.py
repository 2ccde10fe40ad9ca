import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.columns import (
    Inputs,
    Ragged,
    as_medium,
    has_media,
    kinds_of_media,
    medium_of,
    row_hashes,
    steps_column,
    steps_of,
)
from rosenblatt.data.media.images import Pictures, as_cell
from rosenblatt.errors import TableError

ROWS = [np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros((0, 2), np.float32), np.full((1, 2), 9, np.float32)]


def sequences(cells):
    return steps_of(as_medium(pl.Series("s", cells), "sequence"))


def test_a_ragged_array_stores_rows_end_to_end_with_their_starts():
    ragged = Ragged.of([ROWS[0], ROWS[2]], 10, keep_end=True)
    np.testing.assert_array_equal(ragged.values, [[0, 1], [2, 3], [4, 5], [9, 9]])
    np.testing.assert_array_equal(ragged.starts, [0, 3, 4])
    np.testing.assert_array_equal(ragged.lengths, [3, 1])
    assert ragged.nbytes == 4 * 2 * 4 + 3 * 8  # float32 values, int64 starts


def test_long_rows_lose_their_beginning_or_their_end():
    tokens = [np.array([1, 2, 3, 4, 5], np.int32), np.array([6], np.int32)]
    np.testing.assert_array_equal(Ragged.of(tokens, 2, keep_end=True).values, [4, 5, 6])
    np.testing.assert_array_equal(Ragged.of(tokens, 2, keep_end=False).values, [1, 2, 6])


def test_an_empty_row_becomes_one_step_of_zeros():
    ragged = Ragged.of(ROWS, 10, keep_end=True)
    np.testing.assert_array_equal(ragged.lengths, [3, 1, 1])
    np.testing.assert_array_equal(ragged.values[ragged.starts[1] : ragged.starts[2]], [[0, 0]])
    none = Ragged.of([], 10, keep_end=True)
    assert none.lengths.size == 0
    assert none.values.size == 0


def test_inputs_count_their_rows_and_the_bytes_of_all_their_parts():
    pictures = Pictures([as_cell(np.zeros((2, 2, 3), np.uint8))] * 3, 2, 3, "resize", "uint8", (0,) * 3, (1,) * 3)
    ragged = Ragged.of(ROWS, 10, keep_end=True)
    inputs = Inputs(np.zeros((3, 5), np.float32), (pictures, ragged))
    assert len(inputs) == 3
    assert inputs.nbytes == 3 * 5 * 4 + 3 * 2 * 2 * 3 + ragged.nbytes


def test_typed_columns_are_recognized_by_their_struct():
    frame = pl.DataFrame(
        [
            as_medium(pl.Series("photo", [b"\x89PNG"]), "image"),
            pl.Series("age", [3.0]),
            as_medium(pl.Series("note", ["hello"]), "text"),
            as_medium(pl.Series("signal", [[1.0, 2.0]]), "sequence"),
            pl.Series("other", [{"a": 1}]),
        ]
    )
    assert [medium_of(dtype) for dtype in frame.dtypes] == ["image", "", "text", "sequence", ""]
    assert kinds_of_media(frame) == ["image", "text", "sequence"]
    assert has_media(frame)
    assert not has_media(frame.select("age", "other"))
    assert not has_media(np.zeros((1, 1)))


def test_a_typed_column_is_returned_unchanged():
    typed = as_medium(pl.Series("note", ["a", None]), "text")
    assert as_medium(typed, "text") is typed
    assert typed.struct.field("text").to_list() == ["a", ""]  # a missing text is an empty one


def test_images_may_be_paths_contents_or_structs_of_hugging_face():
    for cells in (["a.png", "b.png"], [b"\x89PNG1", b"\x89PNG2"]):
        assert as_medium(pl.Series("photo", cells), "image").struct.field("image").to_list() == cells
    structs = pl.Series("photo", [{"bytes": b"one", "path": "1.png"}, {"bytes": b"two", "path": "2.png"}])
    typed = as_medium(structs, "image")
    assert typed.name == "photo"
    assert typed.struct.field("image").to_list() == [b"one", b"two"]


@pytest.mark.parametrize(
    ("cells", "message"), [(["a.png", None], "'photo'.*empty cells"), ([1.5, 2.5], "'photo'.*Float64")]
)
def test_cells_that_cannot_be_images_are_refused_with_their_column(cells, message):
    with pytest.raises(TableError, match=message):
        as_medium(pl.Series("photo", cells), "image")


def test_lists_become_sequences_of_one_or_several_channels():
    one = sequences([[1, 2, 3], None, [], [4, None]])
    assert [row.shape for row in one] == [(3, 1), (0, 1), (0, 1), (2, 1)]
    np.testing.assert_array_equal(one[3], [[4], [np.nan]])
    np.testing.assert_array_equal(sequences([[[1, 2], [3, 4]], []])[0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(sequences([[{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}]])[0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["1", "2"], ["3", "four"]], "'s'.*row 2.*four"),
        ([[[1, 2]], [[1, 2], [3]]], "'s'.*row 2"),
        ([[[1, 2, 3]], [[4, 5, 6]], [[7, 8]]], "'s'.*row 3 has 2.*3"),
    ],
)
def test_sequences_that_are_not_numbers_or_differ_in_channels_are_refused_by_row(cells, message):
    with pytest.raises(TableError, match=message):
        sequences(cells)


def test_sequences_survive_the_typed_column_to_the_last_bit():
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    column = steps_column("s", [values, values[:0], values.astype(float)[::2]], 3)
    back = steps_of(column)
    np.testing.assert_array_equal(back[0], values)
    assert back[1].shape == (0, 3)
    np.testing.assert_array_equal(back[2], values[[0, 2]])  # also of float64, and not contiguous


def test_row_hashes_depend_on_the_content_of_an_image_and_not_on_its_place(tmp_path):
    content = {"a.png": b"\x89PNG one", "b.png": b"\x89PNG one", "c.png": b"\x89PNG two"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    paths = as_medium(pl.Series("photo", [str(tmp_path / name) for name in content]), "image")
    contents = as_medium(pl.Series("photo", list(content.values())), "image")
    age = pl.Series("age", [1.0, 1.0, 1.0])
    hashes = row_hashes(pl.DataFrame([paths, age]))
    np.testing.assert_array_equal(hashes, row_hashes(pl.DataFrame([contents, age])))
    assert hashes[0] == hashes[1] != hashes[2]
    assert (row_hashes(pl.DataFrame([contents, age + 1])) != hashes).all()
