import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.columns import (
    EncodedInputs,
    RaggedSequences,
    media_kinds,
    medium_kind,
    row_hashes,
    sequence_column,
    sequences_from_column,
    to_media_column,
)
from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.errors import TableError

ROWS = [np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros((0, 2), np.float32), np.full((1, 2), 9, np.float32)]


def sequences(cells):
    return sequences_from_column(to_media_column(pl.Series("s", cells), "sequence"))


def test_a_ragged_array_stores_rows_end_to_end_with_their_starts():
    ragged = RaggedSequences.from_rows([ROWS[0], ROWS[2]], 10, keep_end=True)
    np.testing.assert_array_equal(ragged.values, [[0, 1], [2, 3], [4, 5], [9, 9]])
    np.testing.assert_array_equal(ragged.starts, [0, 3, 4])
    np.testing.assert_array_equal(ragged.lengths, [3, 1])
    assert ragged.nbytes == 4 * 2 * 4 + 3 * 8  # float32 values, int64 starts


def test_long_rows_lose_their_beginning_or_their_end():
    tokens = [np.array([1, 2, 3, 4, 5], np.int32), np.array([6], np.int32)]
    np.testing.assert_array_equal(RaggedSequences.from_rows(tokens, 2, keep_end=True).values, [4, 5, 6])
    np.testing.assert_array_equal(RaggedSequences.from_rows(tokens, 2, keep_end=False).values, [1, 2, 6])


def test_an_empty_row_becomes_one_step_of_zeros():
    ragged = RaggedSequences.from_rows(ROWS, 10, keep_end=True)
    np.testing.assert_array_equal(ragged.lengths, [3, 1, 1])
    np.testing.assert_array_equal(ragged.values[ragged.starts[1] : ragged.starts[2]], [[0, 0]])
    empty = RaggedSequences.from_rows([], 10, keep_end=True)
    assert empty.lengths.size == 0
    assert empty.values.size == 0


def test_inputs_count_their_rows_and_the_bytes_of_all_their_parts():
    pictures = ImageDataset(
        [encode_image(np.zeros((2, 2, 3), np.uint8))] * 3, 2, 3, "resize", "uint8", (0,) * 3, (1,) * 3
    )
    ragged = RaggedSequences.from_rows(ROWS, 10, keep_end=True)
    inputs = EncodedInputs(np.zeros((3, 5), np.float32), (pictures, ragged))
    assert len(inputs) == 3
    assert inputs.nbytes == 3 * 5 * 4 + 3 * 2 * 2 * 3 + ragged.nbytes


def test_typed_columns_are_recognized_by_their_struct():
    frame = pl.DataFrame(
        [
            to_media_column(pl.Series("photo", [b"\x89PNG"]), "image"),
            pl.Series("age", [3.0]),
            to_media_column(pl.Series("note", ["hello"]), "text"),
            to_media_column(pl.Series("signal", [[1.0, 2.0]]), "sequence"),
            pl.Series("other", [{"a": 1}]),
        ]
    )
    assert [medium_kind(dtype) for dtype in frame.dtypes] == ["image", None, "text", "sequence", None]
    assert media_kinds(frame) == ["image", "text", "sequence"]
    assert not media_kinds(frame.select("age", "other"))
    assert not media_kinds(np.zeros((1, 1)))


def test_a_typed_column_is_returned_unchanged():
    typed = to_media_column(pl.Series("note", ["a", None]), "text")
    assert to_media_column(typed, "text") is typed
    assert typed.struct.field("text").to_list() == ["a", ""]  # a missing text is an empty one


def test_images_may_be_paths_contents_or_structs_of_hugging_face():
    for cells in (["a.png", "b.png"], [b"\x89PNG1", b"\x89PNG2"]):
        assert to_media_column(pl.Series("photo", cells), "image").struct.field("image").to_list() == cells
    structs = pl.Series("photo", [{"bytes": b"one", "path": "1.png"}, {"bytes": b"two", "path": "2.png"}])
    typed = to_media_column(structs, "image")
    assert typed.name == "photo"
    assert typed.struct.field("image").to_list() == [b"one", b"two"]


@pytest.mark.parametrize(
    ("cells", "message"), [(["a.png", None], "'photo'.*empty cells"), ([1.5, 2.5], "'photo'.*Float64")]
)
def test_cells_that_cannot_be_images_are_rejected_with_their_column(cells, message):
    with pytest.raises(TableError, match=message):
        to_media_column(pl.Series("photo", cells), "image")


def test_lists_become_sequences_of_one_or_several_channels():
    rows = sequences([[1, 2, 3], None, [], [4, None]])
    assert [row.shape for row in rows] == [(3, 1), (0, 1), (0, 1), (2, 1)]
    np.testing.assert_array_equal(rows[3], [[4], [np.nan]])
    np.testing.assert_array_equal(sequences([[[1, 2], [3, 4]], []])[0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(sequences([[{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}]])[0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["1", "2"], ["3", "four"]], "'s'.*row 2.*four"),
        ([[[1, 2]], [[1, 2], [3]]], "'s'.*row 2"),
        ([[[1, 2, 3]], [[4, 5, 6]], [[7, 8]]], "'s': row 3 has 2 .* row 1 has 3"),
        ([None, [[1, 2]], [[1, 2, 3]], [[1, 2]]], "'s': row 3 has 3 .* row 2 has 2"),
    ],
)
def test_sequences_that_are_not_numbers_or_differ_in_channels_are_rejected_by_row(cells, message):
    with pytest.raises(TableError, match=message):
        sequences(cells)


def test_sequences_survive_the_typed_column_to_the_last_bit():
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    column = sequence_column("s", [values, values[:0], values.astype(float)[::2]], 3)
    back = sequences_from_column(column)
    np.testing.assert_array_equal(back[0], values)
    assert back[1].shape == (0, 3)
    np.testing.assert_array_equal(back[2], values[[0, 2]])  # also of float64, and not contiguous


def test_row_hashes_depend_on_the_content_of_an_image_and_not_on_its_place(tmp_path):
    content = {"a.png": b"\x89PNG one", "b.png": b"\x89PNG one", "c.png": b"\x89PNG two"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    paths = to_media_column(pl.Series("photo", [str(tmp_path / name) for name in content]), "image")
    contents = to_media_column(pl.Series("photo", list(content.values())), "image")
    age = pl.Series("age", [1.0, 1.0, 1.0])
    hashes = row_hashes(pl.DataFrame([paths, age]))
    np.testing.assert_array_equal(hashes, row_hashes(pl.DataFrame([contents, age])))
    assert hashes[0] == hashes[1] != hashes[2]
    assert (row_hashes(pl.DataFrame([contents, age + 1])) != hashes).all()
