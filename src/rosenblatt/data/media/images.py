"""In: image files, by path or content. Out: their pixels, all of one size; what is damaged is told by name.

JPEG goes through simplejpeg where it is installed, all else through Pillow; arrays (.npy) may have any channels.
Decoding releases the lock of the interpreter, so threads use all cores.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rosenblatt.errors import TableError, listed, quietly

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
MOST_PIXELS = 89_478_485  # of one image, as Pillow has it: more may be a decompression bomb
DAMAGED = 0.05  # share of damaged images that may be left out
UNIT_OF_16_BITS = 257  # 65,535 / 255
AHEAD = 4  # batches that are decoded ahead of training
NPY = b"\x93NUMPY"
MAGIC = (NPY, b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"P4", b"P5", b"P6", b"RIFF")
Cell = str | bytes
Fit = Literal["resize", "crop", "pad"]
Policy = Literal["raise", "skip"]  # about images that are damaged


class DamagedError(Exception):
    """An image that cannot be read, and why."""


class Look(NamedTuple):
    """What an image is like: its size, its channels, and whether they are whole numbers of 0 to 255."""

    height: int
    width: int
    channels: int
    whole: bool


def is_image(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    return name.lower().endswith(SUFFIXES)


def is_content(content: bytes) -> bool:
    """Whether a file begins as those of images do."""
    return content.startswith(MAGIC)


def read_image(cell: Cell, into: np.ndarray | None = None) -> np.ndarray:
    """The pixels (H, W, C): uint8, or uint16; float32 of pictures of more bits, and of arrays of other numbers.

    What is transparent is laid on white.

    Args:
        into: decoded right there, where they may.

    Raises:
        DamagedError: for what cannot be read.
    """
    try:
        content = Path(cell).read_bytes() if isinstance(cell, str) else cell
    except OSError as error:
        raise DamagedError(error.strerror or "cannot be read") from error
    if not content:
        raise DamagedError("the file is empty")
    if content.startswith(NPY):
        return _array(content)
    try:
        if content.startswith(b"\xff\xd8") and (fast := _simplejpeg()) and b"Exif" not in content[:4096]:
            return _jpeg(fast, content, into)
        with quietly(Image.DecompressionBombWarning):  # of which `_pixels` says more
            image = Image.open(io.BytesIO(content))
        with image:
            return _pixels(image)
    except Image.DecompressionBombError as error:
        raise DamagedError(f"more than {MOST_PIXELS:,} pixels, as decompression bombs have") from error
    except UnidentifiedImageError as error:
        raise DamagedError("not an image that Pillow can read") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DamagedError(str(error).splitlines()[0] or "damaged") from error


@cache
def _simplejpeg() -> Any:
    with suppress(ImportError):
        return import_module("simplejpeg")
    return None


def _jpeg(fast: Any, content: bytes, into: np.ndarray | None) -> np.ndarray:
    height, width, space, _ = fast.decode_jpeg_header(content)
    if height * width > MOST_PIXELS:
        raise DamagedError(f"more than {MOST_PIXELS:,} pixels, as decompression bombs have")
    if space not in ("YCbCr", "RGB", "Gray"):
        with Image.open(io.BytesIO(content)) as image:
            return _pixels(image)
    channels = 1 if space == "Gray" else 3
    fits = into is not None and into.dtype == np.uint8 and into.shape == (height, width, channels)
    pixels = fast.decode_jpeg(content, "GRAY" if channels == 1 else "RGB", buffer=into if fits else None)
    return into if into is not None and fits else np.asarray(pixels)


def _pixels(image: Image.Image) -> np.ndarray:
    if image.width * image.height > MOST_PIXELS:
        raise DamagedError(f"more than {MOST_PIXELS:,} pixels, as decompression bombs have")
    image.load()
    upright = ImageOps.exif_transpose(image) or image
    if upright.mode.startswith(("I", "F")):
        deep = upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PPM")
        numbers = np.asarray(upright)[:, :, None]
        return numbers.astype(np.uint16) if deep else _finite(numbers.astype(np.float32))
    grey = upright.mode in ("1", "L", "LA")
    if upright.has_transparency_data:
        above = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    pixels = np.asarray(upright.convert("L" if grey else "RGB"))
    return pixels[:, :, None] if grey else pixels


def _array(content: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedError(f"a damaged array: {error}") from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "uif":
        raise DamagedError(f"an array of shape {array.shape}, where (height, width, channels) of numbers was expected")
    return array if array.dtype == np.uint8 else _finite(array.astype(np.float32))


def _finite(pixels: np.ndarray) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise DamagedError("some numbers are not finite")
    return pixels


def as_cell(pixels: np.ndarray) -> bytes:
    """The cell of an image (H, W), (H, W, C) that is in memory."""
    file = io.BytesIO()
    np.save(file, pixels, allow_pickle=False)
    return file.getvalue()


def _looks(cells: Sequence[Cell]) -> list[Look | DamagedError]:
    """Decode all once, on all cores: what each is like, or why it cannot be read."""

    def one(cell: Cell) -> Look | DamagedError:
        try:
            pixels = read_image(cell)
        except DamagedError as error:
            return error
        height, width, channels = pixels.shape
        return Look(height, width, channels, pixels.dtype == np.uint8)

    with _pool() as pool:
        return list(pool.map(one, cells))


def looks_of(cells: Sequence[Cell]) -> list[Look]:
    """What each of the images is like. Raises TableError, with its name, where one cannot be read."""
    found = list[Look]()
    for cell, look in zip(cells, _looks(cells), strict=True):
        if isinstance(look, DamagedError):
            raise _named(cell, look)
        found.append(look)
    return found


def look_at(cells: Sequence[Cell], damaged: Policy) -> list[Look | None]:
    """What each of the images is like, None for those that are damaged and may be skipped.

    Raises TableError, with their names, for damaged ones where the policy is to raise, or where they are many.
    """
    found = _looks(cells)
    bad = [(cell, why) for cell, why in zip(cells, found, strict=True) if isinstance(why, DamagedError)]
    if bad and (damaged == "raise" or len(bad) > max(1, DAMAGED * len(cells))):
        names = listed([f"{name_of(cell)} ({why})" for cell, why in bad], 5)
        too = f", more than {DAMAGED:.0%}" if damaged == "skip" else ""
        skip = ", or leave them out with --damaged skip" if damaged == "raise" else ""
        raise TableError(f"{len(bad)} of {len(cells)} images cannot be read{too}: {names}. Mend or remove them{skip}.")
    return [None if isinstance(look, DamagedError) else look for look in found]


def name_of(cell: Cell) -> str:
    """How an image is told of."""
    return cell if isinstance(cell, str) else f"an image of {len(cell):,} bytes"


def fitted(pixels: np.ndarray, side: int, channels: int, fit: Fit) -> np.ndarray:
    """The image with so many channels, as a square of `side` pixels: stretched, its middle cut out, or padded."""
    if pixels.shape[2] != channels:
        pixels = _with_channels(pixels, channels)
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels
    scale = {"resize": 0.0, "crop": side / min(height, width), "pad": side / max(height, width)}[fit]
    size = (max(1, round(height * scale)), max(1, round(width * scale))) if scale else (side, side)
    resized = _resized(pixels, *size)
    if size == (side, side):
        return resized
    out = np.zeros((side, side, channels), pixels.dtype)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    inside = resized[max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
    out[max(-top, 0) : max(-top, 0) + inside.shape[0], max(-left, 0) : max(-left, 0) + inside.shape[1]] = inside
    return out


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.shape[2] == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
        return grey[:, :, None].astype(pixels.dtype)
    raise DamagedError(f"{pixels.shape[2]} channels, where {channels} were expected")


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    box = (width, height)
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return np.asarray(Image.fromarray(flat).resize(box, Image.Resampling.BILINEAR)).reshape(height, width, -1)
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, c].astype(np.float32)).resize(box, Image.Resampling.BILINEAR))
        for c in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2).astype(pixels.dtype)


def _read(cell: Cell, side: int, channels: int, fit: Fit, dtype: str, into: np.ndarray | None = None) -> np.ndarray:
    """An image made so large; 16 bits are told in units of 8, so that both can stand in one folder.

    Raises TableError, with its name, where it cannot be read.
    """
    try:
        pixels = read_image(cell, into)
        if pixels.dtype == np.uint16:
            pixels = pixels.astype(np.float32) / UNIT_OF_16_BITS
            pixels = np.rint(pixels) if dtype == "uint8" else pixels
        if dtype == "uint8" and pixels.dtype != np.uint8:
            pixels = _whole(pixels)
        return fitted(pixels, side, channels, fit)
    except DamagedError as error:
        raise _named(cell, error) from error


def _whole(pixels: np.ndarray) -> np.ndarray:
    whole = np.rint(pixels).clip(0, 255)
    if not np.array_equal(whole, pixels):
        raise DamagedError("some numbers are not whole ones of 0 to 255, as those of the images learnt from are")
    return whole.astype(np.uint8)


def _named(cell: Cell, error: DamagedError) -> TableError:
    return TableError(f"{name_of(cell)} cannot be read: {error}. Mend or remove it.")


def statistics(cells: Sequence[Cell], side: int, channels: int, fit: Fit, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, over images made so large; no more are kept than there are cores.

    Raises TableError where one cannot be read.
    """

    def one(cell: Cell) -> np.ndarray:
        pixels = _read(cell, side, channels, fit, dtype).reshape(-1, channels).astype(np.float64)
        return np.array([pixels.mean(axis=0), np.square(pixels).mean(axis=0)])

    with _pool() as pool:
        means, squares = np.mean(list(pool.map(one, cells)), axis=0)
    return means, np.sqrt(np.maximum(squares - means**2, 0))


class Pictures:
    """Images of one size, decoded once where they fit into memory, else anew for each batch, ahead of it.

    Raises TableError where one cannot be read.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        side: int,
        channels: int,
        fit: Fit,
        dtype: str,
        center: Sequence[float],
        scale: Sequence[float],
        memory: float = np.inf,
    ) -> None:
        self.center, self.scale = center, scale  # of each channel, by which networks are given them
        self.cells, self.side, self.channels, self.fit, self.dtype = cells, side, channels, fit, np.dtype(dtype)
        self.pixels: np.ndarray | None = None
        if len(cells) * side * side * channels * self.dtype.itemsize <= memory:
            with _pool() as pool:
                self.pixels = self._decoded(np.arange(len(cells)), pool)

    def _decode(self, cell: Cell, out: np.ndarray) -> None:
        pixels = _read(cell, self.side, self.channels, self.fit, self.dtype.name, out)
        if pixels is not out:
            out[:] = pixels

    def _decoded(self, rows: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
        out = np.empty((len(rows), self.side, self.side, self.channels), self.dtype)

        def some(start: int) -> None:
            for k in range(start, min(start + step, len(rows))):
                self._decode(self.cells[rows[k]], out[k])

        step = max(1, min(64, -(-len(rows) // _threads())))
        list(pool.map(some, range(0, len(rows), step)))
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The pixels (B, side, side, channels) of some rows."""
        if self.pixels is not None:
            return self.pixels[rows]
        with _pool() as pool:
            return self._decoded(rows, pool)

    def batches(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The pixels of one batch of rows after the other, decoded by threads ahead of whoever takes them."""
        if self.pixels is not None:
            for rows in batches:
                yield self.pixels[rows]
            return
        with _pool() as pool, ThreadPoolExecutor(1) as ahead:
            waiting = deque[Future[np.ndarray]]()
            for rows in batches:
                waiting.append(ahead.submit(self._decoded, rows, pool))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 0 if self.pixels is None else self.pixels.nbytes


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="decoding")
