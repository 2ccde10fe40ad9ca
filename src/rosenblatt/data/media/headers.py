"""Read what the headers of images and sounds say, without decoding them."""

from __future__ import annotations

import io
import struct
import wave
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from rosenblatt.data.media.images import NPY_MAGIC, DamagedError
from rosenblatt.errors import ignore_warnings

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
FLAC_HEADER_BYTES = 26  # up to the end of the number of frames
_FORMATS = {
    NPY_MAGIC: ("images", "npy"), b"\x89PNG": ("images", "png"), b"\xff\xd8\xff": ("images", "jpg"),
    b"GIF8": ("images", "gif"), b"BM": ("images", "bmp"), b"II*\0": ("images", "tif"), b"MM\0*": ("images", "tif"),
    b"P4": ("images", "pbm"), b"P5": ("images", "pgm"), b"P6": ("images", "ppm"), b"fLaC": ("audio", "flac"),
    b"OggS": ("audio", "ogg"),
}  # fmt: skip
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


def _array_header(content: bytes) -> ImageHeader:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedError(f"a damaged array: {error}") from error
    shape = (*array.shape, 1) if array.ndim == 2 else array.shape
    if len(shape) != 3:
        raise DamagedError(f"an array of shape {array.shape}")
    return ImageHeader(shape[1], shape[0], shape[2], "npy")


def read_audio_header(content: bytes) -> AudioHeader:
    """Read the header of a WAV or FLAC file, or of others if soundfile is installed. Raises DamagedError."""
    if content[:4] == b"fLaC" and len(content) >= FLAC_HEADER_BYTES:
        return _flac_header(content)
    if content[:4] == b"RIFF":
        with suppress(wave.Error, EOFError), wave.open(io.BytesIO(content)) as file:
            rate = file.getframerate()
            return AudioHeader(rate, file.getnchannels(), file.getnframes() / rate, "wav")
    soundfile = _soundfile()
    if soundfile is None:
        raise DamagedError("reading it needs soundfile (pip install soundfile)")
    try:
        info = soundfile.info(io.BytesIO(content))
    except (RuntimeError, TypeError) as error:
        raise DamagedError(str(error)) from error
    return AudioHeader(info.samplerate, info.channels, info.frames / info.samplerate, info.format.lower())


def _flac_header(content: bytes) -> AudioHeader:
    """Read the stream information of FLAC (RFC 9639, section 8.2)."""
    bits = int.from_bytes(content[18:FLAC_HEADER_BYTES])  # 20 of the rate, 3 of the channels, 5, 36 of the frames
    rate, n_channels, n_frames = bits >> 44, (bits >> 41 & 7) + 1, bits & (1 << 36) - 1
    if not rate:
        raise DamagedError("a FLAC file without a sample rate")
    return AudioHeader(rate, n_channels, n_frames / rate, "flac")


def _soundfile() -> Any:
    with suppress(ImportError, OSError):  # OSError: without the library libsndfile
        return import_module("soundfile")
    return None


def media_format(content: bytes) -> tuple[str, str]:
    """What the first bytes of a file show: "images", "audio" or "files", and the usual ending of its name."""
    if content[:4] == b"RIFF":
        return {b"WAVE": ("audio", "wav"), b"WEBP": ("images", "webp")}.get(content[8:12], ("files", ""))
    return next((known for magic, known in _FORMATS.items() if content.startswith(magic)), ("files", ""))
