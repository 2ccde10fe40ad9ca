"""Read what the headers of images and sounds say, without decoding them."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from rosenblatt.data.media.images import NPY_ERRORS, NPY_MAGIC, DamagedError
from rosenblatt.errors import ignore_warnings

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
FLAC_HEADER_BYTES = 26  # up to the end of the number of frames
_FORMATS = {
    NPY_MAGIC: ("images", "npy"), b"\x89PNG": ("images", "png"), b"\xff\xd8\xff": ("images", "jpg"),
    b"GIF8": ("images", "gif"), b"BM": ("images", "bmp"), b"II*\0": ("images", "tif"), b"MM\0*": ("images", "tif"),
    b"P4": ("images", "pbm"), b"P5": ("images", "pgm"), b"P6": ("images", "ppm"), b"fLaC": ("audio", "flac"),
    b"OggS": ("audio", "ogg"),
}  # fmt: skip
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_GREY = (0, 4)  # color types without and with transparency
ORIENTED = tuple(  # names of PNG's chunks that may hold an orientation, with the beginning of their data
    [b"eXIf", b"iTXtXML:com.adobe.xmp"] + [name + b"Raw profile type exif" for name in (b"tEXt", b"zTXt", b"iTXt")]
)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of frames
JPEG_METADATA = 0xE1  # marker of a segment that may have an orientation
ROTATED = (5, 6, 7, 8)  # values of the EXIF orientation of images that lie on their side
ORIENTATION = 0x0112  # EXIF tag


class ImageHeader(NamedTuple):
    """Size and channels of an image as it is shown upright, and its format, such as "jpeg"."""

    width: int
    height: int
    channels: int
    format: str


class AudioHeader(NamedTuple):
    """Sampling of a sound, and its format, such as "wav"."""

    sample_rate: int
    n_channels: int
    seconds: float
    format: str


def read_image_header(content: bytes) -> ImageHeader:
    """Read the header of an image. Raises DamagedError."""
    if content.startswith(NPY_MAGIC):
        return _array_header(content)
    if header := _png_header(content) or _jpeg_header(content):
        return header
    try:
        with ignore_warnings(Image.DecompressionBombWarning), Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if (image.format == "JPEG" and b"Exif" in content[:4096]) or "exif" in image.info:
                orientation = image.getexif().get(ORIENTATION)
                width, height = (height, width) if orientation in ROTATED else (width, height)
            channels = 1 if image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F")) else 3
            return ImageHeader(width, height, channels, (image.format or "").lower())
    except UnidentifiedImageError as error:
        raise DamagedError("not an image that Pillow can read") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DamagedError(str(error).splitlines()[0] if str(error) else "damaged") from error


def _png_header(content: bytes) -> ImageHeader | None:
    """Read the first chunk of a PNG file (W3C, section 11.2.2); None for others, and for those with an orientation."""
    if content[:16] != PNG_START or _has_png_orientation(content):
        return None
    if zlib.crc32(content[12:29]) != int.from_bytes(content[29:33]):
        raise DamagedError("a damaged PNG header")
    width, height, _, color = struct.unpack_from(">IIBB", content, 16)
    return ImageHeader(width, height, 1 if color in PNG_GREY else 3, "png")


def _has_png_orientation(content: bytes) -> bool:
    """Whether a chunk of a PNG file may hold an orientation."""
    position = len(PNG_START) - 8
    while position < len(content):
        if content.startswith(ORIENTED, position + 4):
            return True
        position += 12 + int.from_bytes(content[position : position + 4])  # length, name, data, checksum
    return False


def _jpeg_header(content: bytes) -> ImageHeader | None:
    """Read the frame header of a JPEG file (ITU T.81, section B.2.2); None for others, and for those with metadata."""
    position = 2 if content.startswith(b"\xff\xd8\xff") else len(content)
    while position + 9 < len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4])
        if marker in JPEG_FRAMES:
            height, width, n_components = struct.unpack_from(">HHB", content, position + 5)
            return ImageHeader(width, height, 1 if n_components == 1 else 3, "jpeg") if height else None
        if marker in (JPEG_METADATA, 0xFF) or length < 2:
            return None
        position += 2 + length
    return None


def _array_header(content: bytes) -> ImageHeader:
    """Read the header of a .npy file, and check that the file is as long as it says."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        is_first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except NPY_ERRORS as error:
        raise DamagedError(f"a damaged array: {error}") from error
    if len(content) < file.tell() + math.prod(shape) * dtype.itemsize:
        raise DamagedError("a damaged array: the file is cut off")
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or dtype.kind not in "uif":
        raise DamagedError(f"an array of shape {shape} and type {dtype}")
    return ImageHeader(shape[1], shape[0], shape[2], "npy")


def read_audio_header(content: bytes) -> AudioHeader:
    """Read the header of a WAV or FLAC file, or of others if soundfile is installed. Raises DamagedError."""
    if content[:4] == b"fLaC" and len(content) >= FLAC_HEADER_BYTES:
        return _flac_header(content)
    if content[:4] == b"RIFF" and (header := _wave_header(content)):
        return header
    soundfile = _soundfile()
    if soundfile is None:
        raise DamagedError("reading it needs soundfile (pip install soundfile)")
    try:
        info = soundfile.info(io.BytesIO(content))
    except (RuntimeError, TypeError) as error:
        raise DamagedError(str(error)) from error
    return _make_audio_header(info.samplerate, info.channels, info.frames, info.format.lower())


def _make_audio_header(sample_rate: int, n_channels: int, n_frames: int, format: str) -> AudioHeader:
    if sample_rate <= 0 or n_frames < 0:
        raise DamagedError(f"a sound of {n_frames} frames at {sample_rate} Hz")
    return AudioHeader(sample_rate, n_channels, n_frames / sample_rate, format)


def _wave_header(content: bytes) -> AudioHeader | None:
    """Read the header of a WAV file of integers; None for others, such as those of floats."""
    with suppress(wave.Error, EOFError, RuntimeError), wave.open(io.BytesIO(content)) as file:
        return _make_audio_header(file.getframerate(), file.getnchannels(), file.getnframes(), "wav")
    return None


def _flac_header(content: bytes) -> AudioHeader:
    """Read the stream information of FLAC (RFC 9639, section 8.2)."""
    bits = int.from_bytes(content[18:FLAC_HEADER_BYTES])  # 20 of the rate, 3 of the channels, 5, 36 of the frames
    rate, n_channels, n_frames = bits >> 44, (bits >> 41 & 7) + 1, bits & (1 << 36) - 1
    return _make_audio_header(rate, n_channels, n_frames, "flac")


def has_soundfile() -> bool:
    """Whether sounds other than WAV of integers and FLAC can be read."""
    return _soundfile() is not None


@cache
def _soundfile() -> Any:
    with suppress(ImportError, OSError):  # OSError: without the library libsndfile
        return import_module("soundfile")
    return None


def media_format(content: bytes) -> tuple[str, str]:
    """What the first bytes of a file show: "images", "audio" or "files", and the usual ending of its name."""
    if content[:4] == b"RIFF":
        return {b"WAVE": ("audio", "wav"), b"WEBP": ("images", "webp")}.get(content[8:12], ("files", ""))
    if content[4:12] == b"ftypavif":
        return "images", "avif"
    return next((kind for magic, kind in _FORMATS.items() if content.startswith(magic)), ("files", ""))
