import io

import numpy as np
import pytest
from PIL import Image

from rosenblatt.data.media.headers import (
    AudioHeader,
    ImageHeader,
    media_format,
    read_audio_header,
    read_image_header,
)
from rosenblatt.data.media.images import DamagedError, encode_image, read_image


def encode(format, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, (4, 3)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(("format", "mode"), [
    ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("PNG", "I;16"), ("JPEG", "RGB"),
    ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "F"), ("WEBP", "RGB"), ("PPM", "RGB"),
])  # fmt: skip
def test_a_header_says_what_decoding_gives(format, mode):
    content = encode(format, mode)
    header = read_image_header(content)
    assert (header.height, header.width, header.channels) == read_image(content).shape
    assert header.format == format.lower()


def test_headers_of_png_and_jpeg_are_read_without_pillow(monkeypatch):
    contents = [encode("PNG"), encode("PNG", "LA"), encode("JPEG"), encode("JPEG", "L", progressive=True)]
    monkeypatch.setattr(Image, "open", None)
    assert [read_image_header(content).channels for content in contents] == [3, 1, 3, 1]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_images_on_their_side_have_the_size_of_the_upright_ones(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(format, exif=exif)
    header = read_image_header(content)
    assert (header.height, header.width, header.channels) == read_image(content).shape


def test_arrays_have_the_size_of_their_pixels():
    assert read_image_header(encode_image(np.zeros((3, 4, 5), np.uint8))) == ImageHeader(4, 3, 5, "npy")
    assert read_image_header(encode_image(np.zeros((3, 4), np.uint8))) == ImageHeader(4, 3, 1, "npy")


@pytest.mark.parametrize("content", [
    b"", b"text", b"\x89PNG", b"\xff\xd8\xff", b"GIF89a", b"\x93NUMPY", encode("PNG")[:20], encode("JPEG")[:50],
    encode("PNG").replace(b"\x04", b"\x05", 1), encode_image(np.zeros(3, np.uint8)),
    encode_image(np.zeros((3, 4), np.uint8))[:-1], encode_image(np.zeros((3, 4), np.uint8)).replace(b"}", b"("),
    encode_image(np.zeros((3, 4), np.complex64)),
])  # fmt: skip
def test_a_damaged_image_raises(content):
    with pytest.raises(DamagedError):
        read_image_header(content)


@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", None)]
)
def test_sounds_have_sampling_and_length(format, subtype):
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.zeros((12_000, 2)), 8000, format=format, subtype=subtype)
    assert read_audio_header(file.getvalue()) == AudioHeader(8000, 2, 1.5, format.lower())
    assert media_format(file.getvalue()) == ("audio", format.lower())


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"fLaC", b"fLaC" + bytes(40), b"OggS", b"text", b"RIFF$\0\0\0WAVEfmt "]
)
def test_a_damaged_sound_raises(content):
    with pytest.raises(DamagedError):
        read_audio_header(content)


@pytest.mark.parametrize(("content", "expected"), [
    (encode("PNG"), ("images", "png")), (encode("JPEG"), ("images", "jpg")), (encode("WEBP"), ("images", "webp")),
    (b"RIFF....AVI ", ("files", "")), (b"text", ("files", "")), (b"", ("files", "")),
])  # fmt: skip
def test_the_first_bytes_show_what_a_file_holds(content, expected):
    assert media_format(content) == expected
