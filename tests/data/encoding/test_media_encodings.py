import numpy as np
import polars as pl
import pytest

from rosenblatt.data.encoding.media_encodings import ImageEncoding, SequenceEncoding, TextEncoding
from rosenblatt.data.media.columns import sequence_column, to_media_column
from rosenblatt.data.media.images import encode_image
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec

RNG = np.random.default_rng(0)


def image_column(*pixels):
    return to_media_column(pl.Series("photo", [encode_image(image) for image in pixels]), "image")


def fit_and_encode_images(cells, **changes):
    column = image_column(*cells)
    encoding = ImageEncoding.fit("photo", column.struct.field("image"), DataSpec(**changes))
    return encoding, encoding.encode(column)


def fit_sequences(rows, **changes):
    return SequenceEncoding.fit("s", [np.asarray(row, np.float32) for row in rows], DataSpec(**changes))


def encode_sequences(encoding, rows, channels):
    return encoding.encode(sequence_column("s", [np.asarray(row, np.float32) for row in rows], channels))


def test_each_channel_has_the_mean_and_standard_deviation_of_its_training_pixels():
    pixels = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    encoding, dataset = fit_and_encode_images(pixels)
    np.testing.assert_allclose(encoding.center, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(encoding.scale, pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    assert encoding.input_shape == ("image", 3, 8, 8)
    np.testing.assert_array_equal(dataset.take(np.array([3, 0])), pixels[[3, 0]])


def test_auto_size_is_the_median_side_up_to_96_pixels():
    def side(sizes, **changes):
        return fit_and_encode_images([np.zeros((h, w, 1), np.uint8) for h, w in sizes], **changes)[0].side

    assert side([(4, 9), (7, 5), (20, 10)]) == 5  # the median of the shorter sides 4, 5 and 10
    assert side([(100, 120)]) == 96
    assert side([(100, 120)], image_size=3) == 3


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_images_of_one_row_or_column_are_not_shrunk_to_a_pixel_unless_requested(shape):
    pixels = [np.zeros((*shape, 1), np.uint8)] * 3
    with pytest.raises(TableError, match=f"images of {shape[0]} x {shape[1]} pixels, which would be resized to one"):
        fit_and_encode_images(pixels)
    assert fit_and_encode_images(pixels, image_size=9)[0].side == 9
    assert fit_and_encode_images([np.zeros((1, 1, 1), np.uint8)])[0].side == 1


def test_images_keep_the_most_channels_unless_grey_or_color_is_requested():
    grey, color = np.full((2, 2, 1), 7, np.uint8), np.full((2, 2, 3), [10, 20, 30], np.uint8)
    assert fit_and_encode_images([grey, grey])[0].channels == 1
    assert fit_and_encode_images([grey, color])[0].channels == 3
    assert fit_and_encode_images([grey, grey], colors="color")[0].channels == 3
    encoding, dataset = fit_and_encode_images([color], colors="grey")
    assert encoding.channels == 1
    luma = int(0.299 * 10 + 0.587 * 20 + 0.114 * 30)  # ITU-R BT.601
    np.testing.assert_array_equal(dataset.take(np.array([0])), np.full((1, 2, 2, 1), luma))


def test_images_of_one_color_are_not_scaled_and_arrays_of_fractions_stay_fractions():
    encoding, _ = fit_and_encode_images([np.full((2, 2, 1), 9, np.uint8)] * 2)
    assert encoding.scale == (1.0,)
    fractions = np.full((2, 2, 2), 0.25, np.float32)
    encoding, dataset = fit_and_encode_images([fractions])
    assert encoding.channels == 2
    np.testing.assert_array_equal(dataset.take(np.array([0]))[0], fractions)


def test_a_damaged_image_is_named(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG nothing")
    column = to_media_column(pl.Series("photo", [str(path)]), "image")
    with pytest.raises(TableError, match=r"broken\.png"):
        ImageEncoding.fit("photo", column.struct.field("image"), DataSpec())


def test_texts_become_token_ids_truncated_at_the_end():
    texts = ["b a b", "a", "c"]
    encoding = TextEncoding.fit("note", texts, DataSpec(tokens="words", min_token_count=2, max_length=2))
    assert encoding.input_shape == ("text", 3, 0, 1)  # a, b, and the token for all others
    ragged = encoding.encode(to_media_column(pl.Series("note", [*texts, None]), "text"))
    np.testing.assert_array_equal(ragged.lengths, [2, 1, 1, 1])
    np.testing.assert_array_equal(ragged.values, [2, 1, 1, 0, 0])


def test_auto_length_covers_99_percent_of_the_texts_and_at_most_1000_tokens():
    def max_length(lengths, **changes):
        texts = ["a" * length for length in lengths]
        return TextEncoding.fit("note", texts, DataSpec(tokens="characters", **changes)).max_length

    assert max_length([5] * 200 + [300]) == 5
    assert max_length([5] * 50 + [300]) == 300  # 2 percent of the rows
    assert max_length([4000] * 3) == 1000
    assert max_length([4000] * 3, max_length=1500) == 1500
    assert max_length([]) == 1


def test_rows_with_a_target_per_step_are_never_truncated():
    text = TextEncoding.fit(
        "note", ["ab", "abc"], DataSpec(tokens="characters", min_token_count=1), never_truncate=True
    )
    assert text.encode(to_media_column(pl.Series("note", ["abcabc", "a"]), "text")).lengths.tolist() == [6, 1]
    steps = SequenceEncoding.fit("s", [np.zeros((2, 1), np.float32)], DataSpec(), never_truncate=True)
    assert encode_sequences(steps, [np.zeros((7, 1))], 1).lengths.tolist() == [7]


def test_channels_of_sequences_are_standardized_without_their_missing_numbers():
    rows = [[[1, 10], [np.nan, 20]], [[4, 60], [7, np.nan], [1, 5]]]
    encoding = fit_sequences(rows)
    steps = np.concatenate(rows)
    mean, std = np.nanmean(steps, axis=0), np.nanstd(steps, axis=0)
    np.testing.assert_allclose(encoding.center, mean, rtol=1e-12)
    np.testing.assert_allclose(encoding.scale, std, rtol=1e-12)
    assert encoding.input_shape == ("sequence", 2, 0, 1)
    expected = np.nan_to_num((steps - mean) / std, nan=0.0)
    np.testing.assert_allclose(encode_sequences(encoding, rows, 2).values, expected, rtol=1e-5, atol=1e-6)


def test_long_sequences_keep_their_last_steps_and_constant_channels_become_zero():
    encoding = fit_sequences([[[1, 5], [2, 5], [3, 5]]], max_length=2)
    ragged = encode_sequences(encoding, [[[1, 5], [2, 5], [3, 5]], np.zeros((0, 2))], 2)
    np.testing.assert_array_equal(ragged.lengths, [2, 1])
    np.testing.assert_allclose(ragged.values[:2, 0], [0, 1 / np.std([1, 2, 3])], rtol=1e-6)
    np.testing.assert_array_equal(ragged.values[:, 1], [0, 0, 0])


def test_infinite_numbers_are_rejected_in_training_and_in_prediction():
    with pytest.raises(TableError, match=r"'s'.*infinite"):
        fit_sequences([[[1.0], [np.inf]]])
    with pytest.raises(TableError, match=r"'s'.*infinite"):
        encode_sequences(fit_sequences([[[1.0], [2.0]]]), [[[-np.inf]]], 1)


def test_another_number_of_channels_than_in_training_is_an_error():
    with pytest.raises(TableError, match=r"'s'.*2 channels.*3"):
        encode_sequences(fit_sequences([[[1, 2], [3, 4]]]), [[[1, 2, 3]]], 3)
