"""In: a folder or a zip archive of images, texts or sequences. Out: a table with a row for each of them.

What it holds is told by the names in it: images in a folder for each class, under train/ and test/ if these are there;
text files, one for each class, with a sample in each line; or files with a sequence each, beside tables of what is
known of them.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import steps_column
from rosenblatt.data.media.images import is_image
from rosenblatt.data.readers.files import decoded, read_content
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError, listed

CLASS, IMAGE, TEXT, SEQUENCE, FILE = "class", "image", "text", "sequence", "file"
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
TABLES = (".csv", ".tsv", ".dat", ".data")


@dataclass(frozen=True)
class _File:
    name: str  # below the folder or in the archive, with slashes
    read: Callable[[], bytes]
    path: str = ""  # where it is a file of its own

    @property
    def folders(self) -> tuple[str, ...]:
        return PurePosixPath(self.name).parts[:-1]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def is_collection(path: str | Path) -> bool:
    """Whether this is a folder, or a zip archive."""
    path = Path(path)
    return path.is_dir() or (path.is_file() and zipfile.is_zipfile(path))


def read_collection(path: str | Path) -> Table:
    """The table of a folder or an archive. Raises TableError where it holds nothing that can be learnt from."""
    files = _files(Path(path))
    images = [file for file in files if is_image(file.name)]
    tables = [file for file in files if file.name.lower().endswith(TABLES)]
    texts = [file for file in files if file.name.lower().endswith(".txt")]
    if len(images) > max(len(tables), len(texts)):
        return _parted(images, str(path), _images)
    if len(tables) > len(texts):
        return _sequences(tables, str(path))
    if texts:
        return _parted(texts, str(path), _texts)
    if any(file.folders[:1] == ("xl",) for file in files):
        raise TableError(f"{str(path)!r} is a spreadsheet. Save its table as CSV.")
    kinds = "images (.jpg, .png, ...), text files (.txt), or sequences (.csv, one a file)"
    raise TableError(f"{str(path)!r} holds {len(files)} files, but no {kinds}. Check its name.")


def _files(path: Path) -> list[_File]:
    """All files in order of their names; hidden ones are left out."""
    if path.is_dir():
        found = [
            _File(one.relative_to(path).as_posix(), one.read_bytes, str(one.absolute()))
            for one in sorted(path.rglob("*"))
            if one.is_file()
        ]
    else:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise TableError(f"{str(path)!r} is a damaged zip archive: {error}.") from error
        names = sorted(one.filename for one in archive.infolist() if not one.is_dir())
        found = [_File(name, lambda name=name: archive.read(name)) for name in names]  # type: ignore[misc]
    shown = [f for f in found if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(f.name).parts)]
    if not shown:
        raise TableError(f"{str(path)!r} is empty, but images, texts or sequences were expected.")
    return shown


def _parted(files: list[_File], source: str, make: Callable[[list[_File], str], pl.DataFrame]) -> Table:
    """A table of the files under train/, and one of those under test/, where there are such folders."""
    files, parts = _without_top(files), dict[str, list[_File]]()
    for file in files:
        first = file.folders[0].lower() if file.folders else ""
        parts.setdefault("test" if first in TEST else "train" if first in TRAIN else "", []).append(file)
    if not {"train", "test"} <= parts.keys() or "" in parts:
        frame = make(files, source)
        return _table(frame, source, _notes(frame))
    below = {part: [_File(f.name.split("/", 1)[1], f.read, f.path) for f in some] for part, some in parts.items()}
    frames = {part: make(some, source) for part, some in below.items()}
    if any(CLASS not in frame.columns for frame in frames.values()):
        raise TableError(f"{source!r} has train/ and test/, but in one of them no folder for each class.")
    known, tested = (set(frames[part][CLASS].unique().to_list()) for part in ("train", "test"))
    if tested - known:
        raise TableError(
            f"The test folder of {source!r} has the classes {listed(sorted(tested - known))}, which the training "
            "folder has not. Move or rename them."
        )
    missing = [f"the test has no rows of {listed(sorted(known - tested))}"] if known - tested else []
    test = _table(frames["test"], f"{source}/test", ())
    return replace(_table(frames["train"], source, (*_notes(frames["train"]), *missing)), test=test)


def _table(frame: pl.DataFrame, source: str, notes: tuple[str, ...]) -> Table:
    texts = (TEXT,) if TEXT in frame.columns else ()
    name, target = next(name for name in (FILE, TEXT, IMAGE) if name in frame.columns), CLASS in frame.columns
    aside = (FILE,) if name == FILE else ()
    return Table(frame, source, notes, CLASS if target else "", texts=texts, aside=aside, name=name)


def _without_top(files: list[_File]) -> list[_File]:
    """The files without a single folder, or a folder of parts, that all stand in."""
    tops = {file.folders[0] if file.folders else "" for file in files}
    deep = all(len(file.folders) > 1 for file in files)
    if len(tops) == 1 and "" not in tops and deep:
        return [_File(file.name.split("/", 1)[1], file.read, file.path) for file in files]
    return files


def _notes(frame: pl.DataFrame) -> tuple[str, ...]:
    if CLASS not in frame.columns:
        return ()
    counts = frame[CLASS].value_counts(sort=True)
    return (f"{counts.height} classes, of {min(counts['count']):,} to {max(counts['count']):,} rows",)


def _images(files: list[_File], source: str) -> pl.DataFrame:
    cells: list[str | bytes] = [file.path or file.read() for file in files]
    columns = {IMAGE: pl.Series(cells)}
    if not files[0].path:  # in an archive
        columns[FILE] = pl.Series([file.name for file in files])
    if all(file.folders for file in files):
        columns[CLASS] = pl.Series(["/".join(file.folders) for file in files])
    elif any(file.folders for file in files):
        stray = next(file.name for file in files if not file.folders)
        raise TableError(f"{source!r} has folders of images, but also {stray!r} beside them. Move it into its class.")
    return pl.DataFrame(columns)


def _texts(files: list[_File], source: str) -> pl.DataFrame:
    """One file a class with a sample a line; one file in all is a text with a sample a line and no class."""
    rows, classes = list[str](), list[str]()
    for file in files:
        lines = [line.strip() for line in decoded(file.read()).splitlines()]
        lines = [line for line in lines if line]
        rows += lines
        classes += ["/".join((*file.folders, file.stem))] * len(lines)
    if not rows:
        raise TableError(f"{source!r} holds only empty text files.")
    return pl.DataFrame({TEXT: rows} | ({CLASS: classes} if len(files) > 1 else {}))


def _sequences(files: list[_File], source: str) -> Table:
    """A sequence a file, and what tables beside them know of each, by the number or the name of its file."""
    shapes = dict[tuple[str, ...], list[_File]]()
    for file in files:
        shapes.setdefault(_first_line(file), []).append(file)
    rows = max(shapes.values(), key=len)
    frame = pl.DataFrame([steps_column(SEQUENCE, *_steps(rows)), pl.Series(FILE, [file.name for file in rows])])
    beside, notes = [file for file in files if file not in rows], list[str]()
    aside, bare = list[str](), frame.width  # columns where nothing is known of the sequences
    for file in beside:
        known = _known_of(rows, file)
        if known is None:
            notes.append(f"{file.name} is not about these sequences: left out")
            continue
        aside += known.columns if frame.width > bare else []
        clash = [name for name in known.columns if name in frame.columns]
        frame = pl.concat([frame, known.drop(clash)], how="horizontal")
        notes.append(f"{file.name}: {', '.join(known.columns)}")
    folders = {file.folders for file in rows}
    if frame.width == bare and len(folders) > 1 and all(folders):
        top = len(set.intersection(*({folder[0]} for folder in folders)))
        frame = frame.with_columns(pl.Series(CLASS, ["/".join(file.folders[top:]) for file in rows]))
        return Table(frame, source, tuple(notes), CLASS, aside=(FILE,), name=FILE)
    if len(files) == 1:
        notes.append("the file is taken for one sequence; give a table of rows itself, not in an archive")
    return Table(frame, source, (f"{len(rows)} sequences", *notes), aside=(FILE, *aside), name=FILE)


def _first_line(file: _File) -> tuple[str, ...]:
    line = file.read()[:4096].split(b"\n", 1)[0].decode("utf-8", errors="replace").strip()
    cells = next(csv.reader([line]), [])
    numbers = all(re.fullmatch(r"\s*-?[\d.eE+-]+\s*", cell) for cell in cells)
    return (str(len(cells)),) if numbers else tuple(cells)


def _steps(files: list[_File]) -> tuple[list[np.ndarray], int]:
    """The numbers (T, channels) of each file, NaN where there is none."""
    found = list[np.ndarray]()
    for file in files:
        content = file.read()
        try:
            frame = _quickly(content) if found else read_content(content).frame
            numbers = frame.select(pl.all().cast(pl.Float64, strict=False)).to_numpy()
        except (TableError, pl.exceptions.PolarsError) as error:
            raise TableError(f"{file.name!r} cannot be read as a sequence: {error}") from error
        if found and numbers.shape[1] != found[0].shape[1]:
            raise TableError(
                f"{file.name!r} has {numbers.shape[1]} channels, but {files[0].name!r} has {found[0].shape[1]}. Give "
                "all sequences the same."
            )
        found.append(numbers.astype(np.float32))
    return found, found[0].shape[1]


def _quickly(content: bytes) -> pl.DataFrame:
    """Plain CSV with or without a header."""
    first = content.split(b"\n", 1)[0]
    header = not re.fullmatch(rb"[\s\d.,;eE+-]+", first)
    separator = max(",;\t", key=lambda mark: first.count(mark.encode()))
    frame = pl.read_csv(io.BytesIO(content), separator=separator, has_header=header, infer_schema=False)
    return frame.select(pl.all().str.strip_chars())


def _known_of(sequences: list[_File], file: _File) -> pl.DataFrame | None:
    """The columns of a table that has a row for each sequence, in their order; None where it has not."""
    frame = read_content(file.read()).frame
    frame.columns = [name.lstrip("#").strip() for name in frame.columns]
    for name in frame.columns:
        keys = frame[name].cast(pl.String).str.strip_chars().to_list()
        place = {key: number for number, key in enumerate(keys)}
        if len(place) < len(keys):
            continue
        for of in (_number_in, lambda file: file.stem, lambda file: PurePosixPath(file.name).name):
            wanted = [of(sequence) for sequence in sequences]
            if all(key in place for key in wanted):
                return frame[[place[key] for key in wanted]].drop(name)
    return None


def _number_in(file: _File) -> str:
    """The last number in a file's name."""
    numbers = re.findall(r"\d+", file.stem)
    return str(int(numbers[-1])) if numbers else file.stem
