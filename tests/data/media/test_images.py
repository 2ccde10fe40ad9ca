"""Reading images: formats, sizes, what is damaged, and what does not fit into memory."""

import io
import struct
import zlib

import numpy as np
import polars as pl
import pytest
from PIL import Image

from rosenblatt.data.encoding.media_encodings import ImageEncoding
from rosenblatt.data.media.images import DamagedError, Pictures, as_cell, fitted, look_at, read_image, statistics
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec

COLORS = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)


def file_of(pixels, kind, **how):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_files_are_read_as_they_were_written(kind):
    np.testing.assert_array_equal(read_image(file_of(COLORS, kind)), COLORS)
    np.testing.assert_array_equal(read_image(file_of(COLORS[:, :, 0], kind))[:, :, 0], COLORS[:, :, 0])


def test_jpeg_is_read_alike_by_both_decoders(monkeypatch):
    smooth = np.tile(np.linspace(0, 255, 40).astype(np.uint8)[:, None, None], (1, 32, 3))
    content = file_of(smooth, "JPEG", quality=95)
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


def test_palettes_become_colors_and_what_is_transparent_is_laid_on_white():
    assert read_image(_saved(Image.fromarray(COLORS).convert("P"))).shape == (12, 10, 3)
    above = np.dstack([COLORS, np.full(COLORS.shape[:2], 255, np.uint8)])
    above[:6, :, 3] = 0
    pixels = read_image(_saved(Image.fromarray(above)))
    assert (pixels[:6] == 255).all()
    np.testing.assert_array_equal(pixels[6:], COLORS[6:])
    grey = Image.merge("LA", [Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 0)])
    np.testing.assert_array_equal(read_image(_saved(grey)), np.full((2, 3, 1), 255))


def test_numbers_of_more_than_8_bits_are_kept():
    deep = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4369
    grey = b"P5 4 4 65535 " + deep.astype(">u2").tobytes()
    for content in (_saved(Image.fromarray(deep)), _saved(Image.fromarray(deep), "TIFF"), grey):
        assert read_image(content).dtype == np.uint16
        np.testing.assert_array_equal(read_image(content)[:, :, 0], deep)
        for dtype, tolerance in (("float32", 1e-4), ("uint8", 0.5)):  # in units of 8 bits
            pixels = Pictures([content], 4, 1, "resize", dtype, (0.0,), (1.0,)).take(np.arange(1))
            np.testing.assert_allclose(pixels[0, :, :, 0], deep / 257, atol=tolerance)
    for numbers in (deep.astype(np.float32) / 7, deep.astype(np.int32) * 3):
        pixels = read_image(_saved(Image.fromarray(numbers), "TIFF"))
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels[:, :, 0], numbers.astype(np.float32))
    with pytest.raises(DamagedError, match="not finite"):
        read_image(_saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


def _saved(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_statistics_are_those_of_all_pixels():
    images = [np.full((4, 4, 3), value, np.uint8) for value in (0, 30, 60)]
    center, spread = statistics([as_cell(image) for image in images], 2, 3, "resize", "uint8")
    np.testing.assert_allclose(center, 30)
    np.testing.assert_allclose(spread, np.std([0, 30, 60]))


def test_fractions_are_not_cut_off_where_whole_numbers_were_learnt():
    whole, parts = as_cell(np.full((2, 2, 3), 7.0)), as_cell(np.full((2, 2, 3), 0.5))
    pictures = Pictures(
        [whole, parts, as_cell(np.full((4, 4, 3), 9.0))], 2, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3, memory=0
    )
    np.testing.assert_array_equal(pictures.take(np.array([0])), np.full((1, 2, 2, 3), 7))
    np.testing.assert_array_equal(pictures.take(np.array([2])), np.full((1, 2, 2, 3), 9))
    with pytest.raises(TableError, match="not whole ones of 0 to 255"):
        pictures.take(np.array([1]))


def test_arrays_may_have_any_channels():
    many = np.random.default_rng(1).normal(size=(5, 6, 7))
    np.testing.assert_allclose(read_image(as_cell(many)), many.astype(np.float32))
    assert fitted(many.astype(np.float32), 4, 7, "resize").shape == (4, 4, 7)


def _bomb():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"words, not an image", "not an image"),
        (file_of(COLORS, "PNG")[:60], "."),
        (_bomb(), "decompression bombs"),
        (as_cell(np.zeros((2, 2, 2, 2))), "shape"),
        (as_cell(np.full((2, 2), np.nan)), "not finite"),
        (b"\x93NUMPY\x01\x00garbage", "damaged array"),
    ],
    ids=["empty", "words", "cut off", "bomb", "four axes", "not finite", "garbage"],
)
def test_what_is_damaged_is_told(content, why):
    with pytest.raises(DamagedError, match=why):
        read_image(content)


def test_damaged_files_are_refused_or_skipped_by_name(tmp_path):
    names = []
    for k in range(40):
        names.append(str(tmp_path / f"{k}.png"))
        (tmp_path / f"{k}.png").write_bytes(file_of(COLORS, "PNG") if k != 7 else b"broken")
    with pytest.raises(TableError, match=r"1 of 40 images cannot be read: '.*7.png \(not an image"):
        look_at(names, "raise")
    looks = look_at(names, "skip")
    assert [k for k, look in enumerate(looks) if look is None] == [7]
    assert looks[0] == (12, 10, 3, True)
    with pytest.raises(TableError, match="3 of 3 images cannot be read, more than 5%"):
        look_at([b"x", b"y", str(tmp_path / "gone.png")], "skip")


def test_images_become_squares_as_asked():
    wide = np.zeros((4, 8, 1), np.uint8)
    wide[:, 2:6] = 200
    assert fitted(wide, 4, 1, "crop").min() == 200
    padded = fitted(wide, 8, 1, "pad")
    assert padded[:2].max() == 0
    assert padded[2:6, 2:6].min() == 200
    assert fitted(wide, 4, 1, "resize").shape == (4, 4, 1)
    assert fitted(COLORS, 12, 1, "resize").shape == (12, 12, 1)
    assert fitted(COLORS[:, :, :1], 12, 3, "resize").shape == (12, 12, 3)


def test_pictures_are_the_same_in_memory_and_decoded_ahead():
    cells = [file_of(np.roll(COLORS, k, axis=0), "PNG") for k in range(30)]
    how = (8, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
    held, streamed = Pictures(cells, *how), Pictures(cells, *how, memory=0)
    assert held.nbytes == 30 * 8 * 8 * 3
    assert streamed.nbytes == 0
    batches = [np.array([3, 4]), np.array([29, 0, 7])] * 4
    for ours, theirs in zip(streamed.batches(batches), held.batches(batches), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(streamed.take(np.array([5])), held.take(np.array([5])))


def test_statistics_of_channels_are_those_of_the_training_images():
    images = np.random.default_rng(2).integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    cells = pl.Series([as_cell(image) for image in images])
    encoding = ImageEncoding.learn("image", cells, DataSpec())
    assert encoding.side == 6
    np.testing.assert_allclose(encoding.center, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(1 / np.array(encoding.scale), images.std(axis=(0, 1, 2)))
    assert ImageEncoding.learn("image", cells, DataSpec(colors="grey", image_size=4)).medium == ("image", 1, 4, 4)
