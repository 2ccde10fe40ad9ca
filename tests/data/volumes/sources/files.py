"""Small images, sounds and folders, and the samples of a source as one table."""

import io
import wave

import polars as pl
from PIL import Image


def png(width=2, height=3, mode="RGB", color=0):
    file = io.BytesIO()
    Image.new(mode, (width, height), color).save(file, "PNG")
    return file.getvalue()


def wav(n_frames=8, rate=8000, n_channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(n_channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * n_channels * n_frames))
    return file.getvalue()


def write_files(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(source):
    """All rows, after a check that they have the columns that the source announces."""
    chunks = list(source.chunks())
    frame = pl.concat([chunk.frame for chunk in chunks])
    inspected = source.inspect(chunks[0].contents.read(0)) if chunks[0].contents is not None else {}
    assert [*frame.columns, *inspected] == list(source.columns)
    assert dict(frame.schema).items() <= dict(source.columns).items()
    assert frame.height == source.n_samples
    assert frame["id"].n_unique() == frame.height
    return frame


def read_bytes(source):
    """The bytes of all samples."""
    return [chunk.contents.read(row) for chunk in source.chunks() for row in range(len(chunk.contents))]
