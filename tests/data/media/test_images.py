"""Images: formats, sizes, damaged files, and images that do not fit into memory."""

import io
import pickle
import struct
import zlib

import numpy as np
import polars as pl
import pytest
from PIL import Image

from rosenblatt.data.encoding.media_encodings import ImageEncoding
from rosenblatt.data.media.images import (
    DamagedError,
    ImageDataset,
    channel_statistics,
    encode_image,
    find_damaged_images,
    read_image,
    resize_to_square,
)
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec

COLORS = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)


def encode_file(pixels, format_name, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_files_are_read_as_they_were_written(kind):
    np.testing.assert_array_equal(read_image(encode_file(COLORS, kind)), COLORS)
    np.testing.assert_array_equal(read_image(encode_file(COLORS[:, :, 0], kind))[:, :, 0], COLORS[:, :, 0])


def test_both_jpeg_decoders_agree(monkeypatch):
    smooth = np.tile(np.linspace(0, 255, 40).astype(np.uint8)[:, None, None], (1, 32, 3))
    content = encode_file(smooth, "JPEG", quality=95)
    assert abs(read_image(content).astype(int) - smooth).max() < 12
    monkeypatch.setattr("rosenblatt.data.media.images._simplejpeg", lambda: None)
    assert abs(read_image(content).astype(int) - smooth).max() < 12


def test_photographs_are_turned_upright():
    image = Image.fromarray(COLORS)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert read_image(file.getvalue()).shape == (10, 12, 3)


def test_palettes_become_colors_and_transparent_pixels_are_laid_on_white():
    assert read_image(_save_to_bytes(Image.fromarray(COLORS).convert("P"))).shape == (12, 10, 3)
    rgba = np.dstack([COLORS, np.full(COLORS.shape[:2], 255, np.uint8)])
    rgba[:6, :, 3] = 0
    pixels = read_image(_save_to_bytes(Image.fromarray(rgba)))
    assert (pixels[:6] == 255).all()
    np.testing.assert_array_equal(pixels[6:], COLORS[6:])
    grey = Image.merge("LA", [Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 0)])
    np.testing.assert_array_equal(read_image(_save_to_bytes(grey)), np.full((2, 3, 1), 255))


def test_numbers_of_more_than_8_bits_are_kept():
    values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4369
    grey = b"P5 4 4 65535 " + values.astype(">u2").tobytes()
    for content in (_save_to_bytes(Image.fromarray(values)), _save_to_bytes(Image.fromarray(values), "TIFF"), grey):
        assert read_image(content).dtype == np.uint16
        np.testing.assert_array_equal(read_image(content)[:, :, 0], values)
        for dtype, tolerance in (("float32", 1e-4), ("uint8", 0.5)):  # in units of 8 bits
            pixels = ImageDataset([content], 4, 1, "resize", dtype, (0.0,), (1.0,)).take(np.arange(1))
            np.testing.assert_allclose(pixels[0, :, :, 0], values / 257, atol=tolerance)
    for numbers in (values.astype(np.float32) / 7, values.astype(np.int32) * 3):
        pixels = read_image(_save_to_bytes(Image.fromarray(numbers), "TIFF"))
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels[:, :, 0], numbers.astype(np.float32))
    with pytest.raises(DamagedError, match="NaN or infinite"):
        read_image(_save_to_bytes(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


def _save_to_bytes(image, format_name="PNG"):
    file = io.BytesIO()
    image.save(file, format_name)
    return file.getvalue()


def test_statistics_are_over_all_pixels():
    images = [np.full((4, 4, 3), value, np.uint8) for value in (0, 30, 60)]
    center, spread = channel_statistics([encode_image(image) for image in images], 2, 3, "resize", "uint8")
    np.testing.assert_allclose(center, 30)
    np.testing.assert_allclose(spread, np.std([0, 30, 60]))


def test_fractions_are_rejected_by_a_uint8_dataset():
    integers, fractions = encode_image(np.full((2, 2, 3), 7.0)), encode_image(np.full((2, 2, 3), 0.5))
    dataset = ImageDataset(
        [integers, fractions, encode_image(np.full((4, 4, 3), 9.0))],
        2,
        3,
        "resize",
        "uint8",
        (0.0,) * 3,
        (1.0,) * 3,
        memory_limit=0,
    )
    np.testing.assert_array_equal(dataset.take(np.array([0])), np.full((1, 2, 2, 3), 7))
    np.testing.assert_array_equal(dataset.take(np.array([2])), np.full((1, 2, 2, 3), 9))
    with pytest.raises(TableError, match="not integers from 0 to 255"):
        dataset.take(np.array([1]))


def test_arrays_may_have_any_number_of_channels():
    pixels = np.random.default_rng(1).normal(size=(5, 6, 7))
    np.testing.assert_allclose(read_image(encode_image(pixels)), pixels.astype(np.float32))
    assert resize_to_square(pixels.astype(np.float32), 4, 7, "resize").shape == (4, 4, 7)


def _bomb():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"words, not an image", "not an image"),
        (encode_file(COLORS, "PNG")[:60], "."),
        (_bomb(), "decompression bomb"),
        (encode_image(np.zeros((2, 2, 2, 2))), "shape"),
        (encode_image(np.full((2, 2), np.nan)), "NaN or infinite"),
        (b"\x93NUMPY\x01\x00garbage", "damaged array"),
    ],
    ids=["empty", "words", "cut off", "bomb", "four axes", "not finite", "garbage"],
)
def test_damaged_content_is_reported(content, message):
    with pytest.raises(DamagedError, match=message):
        read_image(content)


def test_damaged_files_are_rejected_or_skipped_by_name(tmp_path):
    names = []
    for k in range(40):
        names.append(str(tmp_path / f"{k}.png"))
        (tmp_path / f"{k}.png").write_bytes(encode_file(COLORS, "PNG") if k != 7 else b"broken")
    with pytest.raises(TableError, match=r"1 of 40 images cannot be read: '.*7.png \(not an image"):
        find_damaged_images(names, "raise")
    assert find_damaged_images(names, "skip") == [7]
    with pytest.raises(TableError, match="3 of 3 images cannot be read, more than 5%"):
        find_damaged_images([b"x", b"y", str(tmp_path / "gone.png")], "skip")


def test_images_are_resized_to_squares_by_mode():
    wide = np.zeros((4, 8, 1), np.uint8)
    wide[:, 2:6] = 200
    assert resize_to_square(wide, 4, 1, "crop").min() == 200
    padded = resize_to_square(wide, 8, 1, "pad")
    assert padded[:2].max() == 0
    assert padded[2:6, 2:6].min() == 200
    assert resize_to_square(wide, 4, 1, "resize").shape == (4, 4, 1)
    assert resize_to_square(COLORS, 12, 1, "resize").shape == (12, 12, 1)
    assert resize_to_square(COLORS[:, :, :1], 12, 3, "resize").shape == (12, 12, 3)


def test_images_are_the_same_in_memory_and_decoded_ahead():
    cells = [encode_file(np.roll(COLORS, k, axis=0), "PNG") for k in range(30)]
    options = (8, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
    in_memory, streamed = ImageDataset(cells, *options), ImageDataset(cells, *options, memory_limit=0)
    assert in_memory.nbytes == 30 * 8 * 8 * 3
    assert streamed.nbytes == 0
    batches = [np.array([3, 4]), np.array([29, 0, 7])] * 4
    for actual, expected in zip(streamed.batches(batches), in_memory.batches(batches), strict=True):
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(streamed.take(np.array([5])), in_memory.take(np.array([5])))


def test_images_travel_as_pixels_unless_others_can_read_their_cells(monkeypatch):
    cells, options = [encode_image(COLORS)] * 3, (4, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
    dataset, rows = ImageDataset(cells, *options), np.arange(3)
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.take(rows), dataset.take(rows))
    assert copy.cells == ()
    monkeypatch.setattr("rosenblatt.data.media.images.is_readable_anywhere", lambda _: True)
    state = dataset.__getstate__()
    assert (state["pixels"], state["cells"]) == (None, cells)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset)).take(rows), dataset.take(rows))
    streamed = ImageDataset(cells, *options, memory_limit=0)
    copy = pickle.loads(pickle.dumps(streamed))
    assert copy.pixels is None
    np.testing.assert_array_equal(copy.take(rows), dataset.take(rows))


def test_channel_statistics_are_over_the_training_images():
    images = np.random.default_rng(2).integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    cells = pl.Series([encode_image(image) for image in images])
    encoding = ImageEncoding.fit("image", cells, DataSpec())
    assert encoding.side == 6
    np.testing.assert_allclose(encoding.center, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(encoding.scale, images.std(axis=(0, 1, 2)))
    assert ImageEncoding.fit("image", cells, DataSpec(colors="grey", image_size=4)).input_shape == ("image", 1, 4, 4)
