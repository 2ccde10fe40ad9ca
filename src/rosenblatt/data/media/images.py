"""Read images, given as paths or file contents, as pixels of one size, and name the damaged ones.

JPEG files are decoded by simplejpeg if it is installed, and all others by Pillow; arrays (.npy) may have any number of
channels. Decoding releases Python's global interpreter lock, so threads use all cores.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from tokenize import TokenError
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rosenblatt.data.cores import cores
from rosenblatt.data.media.contents import (
    Blocks,
    Cell,
    Contents,
    Reading,
    cell_name,
    is_readable_anywhere,
    open_contents,
    read_content,
)
from rosenblatt.data.media.progress import report_read
from rosenblatt.errors import DamagedDataError, TableError, format_count, format_list, ignore_warnings

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".pgm", ".npy"
)  # fmt: skip
MAX_PIXELS = 89_478_485  # of one image, Pillow's limit: larger ones may be decompression bombs
MAX_DAMAGED_FRACTION = 0.05  # fraction of damaged images that may be skipped
SCALE_16_TO_8_BITS = 257  # 65,535 / 255, for images of 16 bits
PREFETCH_BATCHES = 4  # batches decoded ahead of training
BLOCK_IMAGES, BLOCK_BYTES = 512, 1 << 29  # that are read together, where all are read
TASK_IMAGES = 16  # of them that a thread reads at a time
NPY_MAGIC = b"\x93NUMPY"
NPY_ERRORS = (ValueError, EOFError, SyntaxError, TokenError)  # that NumPy raises for damaged arrays
IMAGE_MAGIC = (
    NPY_MAGIC, b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"P4", b"P5", b"P6", b"RIFF"
)  # fmt: skip
ResizeMode = Literal["resize", "crop", "pad"]
DamagedPolicy = Literal["raise", "skip"]  # what to do about damaged images


Read = Callable[[], bytes | memoryview]  # reads a content
Result = TypeVar("Result")


class DamagedError(Exception):
    """An image that cannot be read; the message says why."""


class ImageInfo(NamedTuple):
    """Size and channels of an image, and whether its values are integers from 0 to 255."""

    height: int
    width: int
    channels: int
    is_uint8: bool


def has_image_suffix(name: str) -> bool:
    """Whether a file name ends like that of an image."""
    return name.lower().endswith(SUFFIXES)


def is_image_content(content: bytes) -> bool:
    """Whether the content of a file begins like that of an image."""
    return content.startswith(IMAGE_MAGIC)


def read_image(cell: Cell, out: np.ndarray | None = None) -> np.ndarray:
    """Read and decode an image, see `decode_image`.

    Args:
        cell: the path of a file, the name of a sample of a volume, or the content.
        out: buffer (H, W, C) that is used for the pixels if they fit.

    Raises:
        DamagedError: if the image cannot be read.
    """
    return _read_and_decode(lambda: read_content(cell), out)


def _read_and_decode(read: Read, out: np.ndarray | None = None) -> np.ndarray:
    """Decode what a function reads. Raises DamagedError."""
    try:
        content = read()
    except OSError as error:
        raise DamagedError(error.strerror or "cannot be read") from error
    except DamagedDataError as error:
        raise DamagedError(str(error)) from error
    return decode_image(bytes(content), out)


def decode_image(content: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Decode the content of an image as pixels (H, W, C).

    Pixels are uint8 or uint16, or float32 for more bits and for arrays of other numbers. Transparent images are laid on
    white.

    Args:
        content: of a file.
        out: buffer (H, W, C) that is used for the pixels if they fit.

    Raises:
        DamagedError: if the image cannot be decoded.
    """
    if not content:
        raise DamagedError("the file is empty")
    if content.startswith(NPY_MAGIC):
        return _decode_array(content)
    try:
        if content.startswith(b"\xff\xd8") and (simplejpeg := _simplejpeg()) and b"Exif" not in content[:4096]:
            return _decode_jpeg(simplejpeg, content, out)
        with ignore_warnings(Image.DecompressionBombWarning):  # `_decode_with_pillow` raises an error
            image = Image.open(io.BytesIO(content))
        with image:
            return _decode_with_pillow(image)
    except Image.DecompressionBombError as error:
        raise DamagedError(f"more than {MAX_PIXELS:,} pixels, like a decompression bomb") from error
    except UnidentifiedImageError as error:
        raise DamagedError("not an image that Pillow can read") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DamagedError(str(error).splitlines()[0] or "damaged") from error


@cache
def _simplejpeg() -> Any:
    with suppress(ImportError):
        return import_module("simplejpeg")
    return None


def _decode_jpeg(simplejpeg: Any, content: bytes, out: np.ndarray | None) -> np.ndarray:
    height, width, color_space, _ = simplejpeg.decode_jpeg_header(content)
    if height * width > MAX_PIXELS:
        raise DamagedError(f"more than {MAX_PIXELS:,} pixels, like a decompression bomb")
    if color_space not in ("YCbCr", "RGB", "Gray"):
        with Image.open(io.BytesIO(content)) as image:
            return _decode_with_pillow(image)
    channels = 1 if color_space == "Gray" else 3
    can_reuse = out is not None and out.dtype == np.uint8 and out.shape == (height, width, channels)
    pixels = simplejpeg.decode_jpeg(content, "GRAY" if channels == 1 else "RGB", buffer=out if can_reuse else None)
    return out if out is not None and can_reuse else np.asarray(pixels)


def _decode_with_pillow(image: Image.Image) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        raise DamagedError(f"more than {MAX_PIXELS:,} pixels, like a decompression bomb")
    image.load()
    upright = ImageOps.exif_transpose(image) or image
    if upright.mode.startswith(("I", "F")):
        is_16_bit = upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PPM")
        array = np.asarray(upright)[:, :, None]
        return array.astype(np.uint16) if is_16_bit else _check_finite(array.astype(np.float32))
    is_grey = upright.mode in ("1", "L", "LA")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    pixels = np.asarray(upright.convert("L" if is_grey else "RGB"))
    return pixels[:, :, None] if is_grey else pixels


def _decode_array(content: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except NPY_ERRORS as error:
        raise DamagedError(f"a damaged array: {error}") from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "uif":
        raise DamagedError(f"an array of shape {array.shape}; expected numbers of shape (height, width, channels)")
    return array if array.dtype == np.uint8 else _check_finite(array.astype(np.float32))


def _check_finite(pixels: np.ndarray) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise DamagedError("some numbers are NaN or infinite")
    return pixels


def encode_image(pixels: np.ndarray) -> bytes:
    """Encode pixels (H, W) or (H, W, C) as the content of a .npy file."""
    file = io.BytesIO()
    np.save(file, pixels, allow_pickle=False)
    return file.getvalue()


def _read_all(contents: Contents, n: int, use: Callable[[Read, int], Result]) -> list[Result]:
    """Call a function with what reads each of n contents and its row, on all cores, in the order of their storage."""
    order = np.arange(n) if contents.blocks is None else np.argsort(contents.blocks.numbers, kind="stable")
    size = BLOCK_IMAGES
    if contents.blocks is not None and (n_bytes := int(contents.blocks.n_bytes.sum())):
        size = max(1, min(size, BLOCK_BYTES * n // n_bytes))  # large images fill the cache otherwise
    batches = [order[start : start + size] for start in range(0, n, size)]
    results: list[Result | None] = [None] * n

    def use_rows(rows: np.ndarray) -> None:
        for row in rows.tolist():
            results[row] = use(partial(reading.read, row), row)

    with _make_pool() as pool, contents.reading(batches) as reading:
        for number, batch in enumerate(batches):
            list(pool.map(use_rows, np.array_split(batch, -(-batch.size // TASK_IMAGES))))
            reading.finish(number)
            report_read(int(batch.size), n)
    return cast("list[Result]", results)


def _inspect(cells: Sequence[Cell]) -> list[ImageInfo | DamagedError]:
    """Decode each image once, on all cores, and return its size and channels, or why it cannot be read."""

    def inspect(read: Read, _row: int) -> ImageInfo | DamagedError:
        try:
            pixels = _read_and_decode(read)
        except DamagedError as error:
            return DamagedError(str(error))  # without its traceback, which would keep the content in use
        height, width, channels = pixels.shape
        return ImageInfo(height, width, channels, pixels.dtype == np.uint8)

    return _read_all(open_contents(cells), len(cells), inspect)


def inspect_images(cells: Sequence[Cell]) -> list[ImageInfo]:
    """Size and channels of each image. Raises TableError with the name of the first one that cannot be read."""
    infos = list[ImageInfo]()
    for cell, result in zip(cells, _inspect(cells), strict=True):
        if isinstance(result, DamagedError):
            raise _damaged_image_error(cell, result)
        infos.append(result)
    return infos


def find_damaged_images(
    cells: Sequence[Cell],
    policy: DamagedPolicy,
    *,
    headers_suffice: bool = False,
    max_fraction: float = MAX_DAMAGED_FRACTION,
) -> list[int]:
    """The rows of images that cannot be read.

    Args:
        cells: the images.
        policy: whether damaged images may be skipped.
        headers_suffice: if they may not be skipped, whether images are not decoded whose headers were read when they
            were added to a volume.
        max_fraction: of the images that may be skipped, but always one.

    Raises:
        TableError: with the names of the damaged images, if the policy is to raise, or if there are too many.
    """
    reasons = open_contents(cells).damaged() if headers_suffice and policy == "raise" else None
    if reasons is None:
        results = enumerate(_inspect(cells))
        reasons = {row: str(result) for row, result in results if isinstance(result, DamagedError)}
    if reasons and (policy == "raise" or len(reasons) > max(1, max_fraction * len(cells))):
        names = format_list([f"{cell_name(cells[row])} ({reason})" for row, reason in reasons.items()], 5)
        limit = f", more than {max_fraction:.0%}" if policy == "skip" else ""
        hint = ", or skip them with --on-damaged-images skip" if policy == "raise" else ""
        raise TableError(
            f"{len(reasons)} of {len(cells)} images cannot be read{limit}: {names}. Repair or remove them{hint}."
        )
    return sorted(reasons)


def resize_to_square(pixels: np.ndarray, side: int, channels: int, resize_mode: ResizeMode) -> np.ndarray:
    """Convert an image (H, W, C) to (side, side, channels): stretched, cropped to its center, or padded with zeros."""
    if pixels.shape[2] != channels:
        pixels = _convert_channels(pixels, channels)
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels
    scale = {"resize": 0.0, "crop": side / min(height, width), "pad": side / max(height, width)}[resize_mode]
    size = (max(1, round(height * scale)), max(1, round(width * scale))) if scale else (side, side)
    resized = _resize(pixels, *size)
    if size == (side, side):
        return resized
    out = np.zeros((side, side, channels), pixels.dtype)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    crop = resized[max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
    out[max(-top, 0) : max(-top, 0) + crop.shape[0], max(-left, 0) : max(-left, 0) + crop.shape[1]] = crop
    return out


def _convert_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.shape[2] == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
        return grey[:, :, None].astype(pixels.dtype)
    raise DamagedError(f"it has {format_count(pixels.shape[2], 'channel')}, but {channels} were expected")


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    size = (width, height)
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return np.asarray(Image.fromarray(flat).resize(size, Image.Resampling.BILINEAR)).reshape(height, width, -1)
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, c].astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        for c in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2).astype(pixels.dtype)


class _Resizer(NamedTuple):
    """Decodes images as pixels of one size; values of 16 bits are scaled to those of 8 bits."""

    side: int
    channels: int
    mode: ResizeMode
    dtype: str

    def load(self, read: Read, cell: Cell, out: np.ndarray | None = None) -> np.ndarray:
        """Read and resize an image. Raises TableError with its name."""
        try:
            pixels = _read_and_decode(read, out)
            if pixels.dtype == np.uint16:
                pixels = pixels.astype(np.float32) / SCALE_16_TO_8_BITS
                pixels = np.rint(pixels) if self.dtype == "uint8" else pixels
            if self.dtype == "uint8" and pixels.dtype != np.uint8:
                pixels = _to_uint8(pixels)
            return resize_to_square(pixels, self.side, self.channels, self.mode)
        except DamagedError as error:
            raise _damaged_image_error(cell, error) from error


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    rounded = np.rint(pixels).clip(0, 255)
    if not np.array_equal(rounded, pixels):
        raise DamagedError("some values are not integers from 0 to 255, as in the training images")
    return rounded.astype(np.uint8)


def _damaged_image_error(cell: Cell, error: DamagedError) -> TableError:
    return TableError(f"{cell_name(cell)} cannot be read: {error}. Repair or remove it.")


def channel_statistics(
    cells: Sequence[Cell], side: int, channels: int, resize_mode: ResizeMode, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (channels,) over all pixels of resized images. Raises TableError."""

    resizer = _Resizer(side, channels, resize_mode, dtype)

    def moments(read: Read, row: int) -> np.ndarray:
        pixels = resizer.load(read, cells[row]).reshape(-1, channels).astype(np.float64)
        return np.array([pixels.mean(axis=0), np.square(pixels).mean(axis=0)])

    means, squares = np.mean(_read_all(open_contents(cells), len(cells), moments), axis=0)
    return means, np.sqrt(np.maximum(squares - means**2, 0))


class ImageDataset:
    """Images of one size, decoded once if they fit into memory, or else again for each batch, ahead of training.

    Args:
        cells: paths or contents of the images.
        side, channels: of all images; side is in pixels.
        resize_mode: how images become squares.
        dtype: "uint8" or "float32".
        center, scale: mean and standard deviation of each channel.
        memory_limit: bytes of pixels up to which all images are kept in memory.

    Raises:
        TableError: if an image cannot be read.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        side: int,
        channels: int,
        resize_mode: ResizeMode,
        dtype: str,
        center: Sequence[float],
        scale: Sequence[float],
        memory_limit: float = np.inf,
    ) -> None:
        self.cells, self.side, self.channels = cells, side, channels
        self.dtype, self.center, self.scale = np.dtype(dtype), center, scale
        self._resizer, self._contents = _Resizer(side, channels, resize_mode, dtype), open_contents(cells)
        self.pixels: np.ndarray | None = None
        if len(cells) * side * side * channels * self.dtype.itemsize <= memory_limit:
            self.pixels = self._decode_all()

    @property
    def blocks(self) -> Blocks | None:
        """Which images are stored together, and are best read together."""
        return self._contents.blocks

    def __getstate__(self) -> dict[str, Any]:
        """Everything that another process needs: cells that it can read too, or else the pixels."""
        state = self.__dict__ | {"_contents": None, "is_decoded": self.pixels is not None}
        if self.pixels is not None:
            state["pixels" if self.cells and is_readable_anywhere(self.cells[0]) else "cells"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        is_decoded = state.pop("is_decoded")
        state["cells"] = state["cells"] or ()
        self.__dict__ |= state
        self._contents = open_contents(self.cells)
        if is_decoded and self.pixels is None:
            self.pixels = self._decode_all()

    def _decode_all(self) -> np.ndarray:
        pixels = np.empty((len(self.cells), self.side, self.side, self.channels), self.dtype)
        _read_all(self._contents, len(self.cells), lambda read, row: self._decode(read, row, pixels[row]))
        return pixels

    def _decode(self, read: Read, row: int, out: np.ndarray) -> None:
        pixels = self._resizer.load(read, self.cells[row], out)
        if pixels is not out:
            out[:] = pixels

    def _decode_rows(self, rows: np.ndarray, reading: Reading, pool: ThreadPoolExecutor) -> np.ndarray:
        out = np.empty((len(rows), self.side, self.side, self.channels), self.dtype)

        def decode_chunk(start: int) -> None:
            for k in range(start, min(start + chunk_size, len(rows))):
                row = int(rows[k])
                self._decode(partial(reading.read, row), row, out[k])

        chunk_size = max(1, min(64, -(-len(rows) // cores())))
        list(pool.map(decode_chunk, range(0, len(rows), chunk_size)))
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The pixels (B, side, side, channels) of rows (B,)."""
        return next(self.batches([rows]))

    def batches(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Iterate over the pixels of batches of rows; threads decode a few batches ahead."""
        if self.pixels is not None:
            for rows in batches:
                yield self.pixels[rows]
            return
        with _make_pool() as pool, ThreadPoolExecutor(1) as executor, self._contents.reading(batches) as reading:

            def decode(number: int) -> np.ndarray:
                pixels = self._decode_rows(batches[number], reading, pool)
                reading.finish(number)
                return pixels

            pending = deque[Future[np.ndarray]]()
            try:
                for number in range(len(batches)):
                    pending.append(executor.submit(decode, number))
                    if len(pending) > PREFETCH_BATCHES:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                executor.shutdown(cancel_futures=True)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 0 if self.pixels is None else self.pixels.nbytes


def _make_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="decoding")
