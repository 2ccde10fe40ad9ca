"""Read a folder or a zip archive of images, texts or sequences as a table with one row for each.

File names decide what it holds: images, in a folder for each class; text files, one for each class with a sample in
each line, or many in a folder for each class; or a file for each sequence, beside tables of their other columns. Images
and texts may be split into train/ and test/.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import sequence_column
from rosenblatt.data.media.images import has_image_suffix
from rosenblatt.data.readers.archives import CollectionFile, without_documentation
from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.files import read_content
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError, format_count, format_list

CLASS, IMAGE, TEXT, SEQUENCE, FILE = "class", "image", "text", "sequence", "file"
MIN_DOCUMENTS = 5  # mean number of text files in a folder from which each is a text, and not a class with one a line
TRAIN_FOLDERS, TEST_FOLDERS = ("train", "training"), ("test", "testing", "val", "valid", "validation")


def read_collection(files: Sequence[CollectionFile], source: str) -> Table:
    """Read the files of a folder or an archive as a table.

    Raises:
        TableError: if they are no images, texts or sequences.
    """
    images = [file for file in files if has_image_suffix(file.name)]
    tables = [file for file in files if file.is_delimited]
    texts = [file for file in (without_documentation(files) if tables else files) if file.is_text]
    if len(images) > max(len(tables), len(texts)):
        return _split_train_test(images, source, _image_frame)
    if len(tables) > len(texts):
        return _sequence_table(tables, source)
    if texts and _are_documents(texts):
        table = _split_train_test(texts, source, _document_frame)
        note = "each file is one text; for a text in each line, join the files of each folder"
        return replace(table, notes=(*table.notes, note))
    if texts:
        return _split_train_test(texts, source, _text_frame)
    if any(file.folders[:1] == ("xl",) for file in files):
        raise TableError(f"{source!r} is a spreadsheet. Save its table as CSV.")
    if typed := [file for file in files if file.is_table]:
        raise _not_sequences_error(typed, source)
    kinds = "images (.jpg, .png, ...), text files (.txt) or sequences (.csv, one per file)"
    raise TableError(
        f"{source!r} must hold {kinds}, but holds {format_count(len(files), 'other file')}. Check the path."
    )


def _not_sequences_error(tables: Sequence[CollectionFile], source: str) -> TableError:
    names = format_list([file.name for file in tables], 4)
    return TableError(
        f"{source!r} holds {format_count(len(tables), 'table')}: {names}. Give the path of one of them, unpacked."
    )


def _split_train_test(
    files: list[CollectionFile], source: str, make_frame: Callable[[list[CollectionFile], str], pl.DataFrame]
) -> Table:
    """The table of all files, or of those under train/ with those under test/ as its test rows."""
    files, parts = _strip_common_folder(files), dict[str, list[CollectionFile]]()
    for file in files:
        first = file.folders[0].lower() if file.folders else ""
        parts.setdefault("test" if first in TEST_FOLDERS else "train" if first in TRAIN_FOLDERS else "", []).append(
            file
        )
    if not {"train", "test"} <= parts.keys() or "" in parts:
        frame = make_frame(files, source)
        return _table(frame, source, _class_notes(frame))
    part_files = {
        part: [CollectionFile(f.name.split("/", 1)[1], f.read, f.path) for f in files_of_part]
        for part, files_of_part in parts.items()
    }
    frames = {part: make_frame(files_of_part, source) for part, files_of_part in part_files.items()}
    if any(CLASS not in frame.columns for frame in frames.values()):
        raise TableError(f"{source!r} has train/ and test/, but one of them has no folder for each class. Add them.")
    train_classes, test_classes = (set(frames[part][CLASS].unique().to_list()) for part in ("train", "test"))
    if test_classes - train_classes:
        raise TableError(
            f"The test folder of {source!r} has the classes {format_list(sorted(test_classes - train_classes))}, but "
            "the training folder does not. Move or rename them."
        )
    missing = (
        [f"no test rows of {format_list(sorted(train_classes - test_classes))}"] if train_classes - test_classes else []
    )
    test = _table(frames["test"], f"{source}/test", ())
    return replace(_table(frames["train"], source, (*_class_notes(frames["train"]), *missing)), test=test)


def _table(frame: pl.DataFrame, source: str, notes: tuple[str, ...]) -> Table:
    texts = (TEXT,) if TEXT in frame.columns else ()
    name, target = next(name for name in (FILE, TEXT, IMAGE) if name in frame.columns), CLASS in frame.columns
    excluded = (FILE,) if name == FILE else ()
    return Table(frame, source, notes, CLASS if target else "", texts=texts, excluded_columns=excluded, id_column=name)


def _strip_common_folder(files: list[CollectionFile]) -> list[CollectionFile]:
    """Remove the first folder from all names if it is the same for all and holds folders itself."""
    top_folders = {file.folders[0] if file.folders else "" for file in files}
    is_nested = all(len(file.folders) > 1 for file in files)
    if len(top_folders) == 1 and "" not in top_folders and is_nested:
        return [CollectionFile(file.name.split("/", 1)[1], file.read, file.path) for file in files]
    return files


def _class_notes(frame: pl.DataFrame) -> tuple[str, ...]:
    if CLASS not in frame.columns:
        return ()
    counts = frame[CLASS].value_counts()["count"].to_list()
    low, high = min(counts), max(counts)
    rows = format_count(high, "row") if low == high else f"{low:,} to {high:,} rows"
    return (f"{len(counts)} class{'es' * (len(counts) > 1)} of {rows}",)


def _image_frame(files: list[CollectionFile], source: str) -> pl.DataFrame:
    cells: list[str | bytes] = [file.path or file.read() for file in files]
    columns = {IMAGE: pl.Series(cells)}
    if not files[0].path:  # in an archive
        columns[FILE] = pl.Series([file.name for file in files])
    if all(file.folders for file in files):
        columns[CLASS] = pl.Series(["/".join(file.folders) for file in files])
    elif any(file.folders for file in files):
        stray_name = next(file.name for file in files if not file.folders)
        raise TableError(
            f"{source!r} has a folder of images for each class, but {stray_name!r} is in none. Move it into its class."
        )
    return pl.DataFrame(columns)


def _text_frame(files: list[CollectionFile], source: str) -> pl.DataFrame:
    """A row for each line that is not empty, with the name of its file as its class; a single file has no class."""
    rows, classes = list[str](), list[str]()
    for file in files:
        lines = [line.strip() for line in re.split(r"\r\n|\r|\n", decode_text(file.read()))]
        lines = [line for line in lines if line]
        rows += lines
        classes += ["/".join((*file.folders, file.stem))] * len(lines)
    if not rows:
        raise TableError(f"{source!r} holds only empty text files.")
    return pl.DataFrame({TEXT: rows} | ({CLASS: classes} if len(files) > 1 else {}))


def _are_documents(files: Sequence[CollectionFile]) -> bool:
    """Whether each text file is a row: if there are many in each of several folders, and none outside of these."""
    folders = [file.folders for file in _strip_common_folder(list(files))]
    if all(folder and folder[0].lower() in (*TRAIN_FOLDERS, *TEST_FOLDERS) for folder in folders):
        folders = [folder[1:] for folder in folders]
    n_folders = len(set(folders))
    return all(folders) and n_folders > 1 and len(folders) >= MIN_DOCUMENTS * n_folders


def _document_frame(files: list[CollectionFile], _: str) -> pl.DataFrame:
    """A row for each file that is not empty, with the name of its folder as its class."""
    texts = [decode_text(file.read()).strip() for file in files]
    return pl.DataFrame({TEXT: texts, CLASS: ["/".join(file.folders) for file in files]}).filter(pl.col(TEXT) != "")


def _sequence_table(files: list[CollectionFile], source: str) -> Table:
    """A row for each file of a sequence, with the columns of other tables, joined by number or name of the file."""
    groups = dict[tuple[str, ...], list[CollectionFile]]()
    for file in files:
        groups.setdefault(_first_line(file), []).append(file)
    rows = max(groups.values(), key=len)
    if not _are_sequences(rows):
        raise _not_sequences_error(files, source)
    frame = pl.DataFrame(
        [sequence_column(SEQUENCE, *_load_sequences(rows)), pl.Series(FILE, [file.name for file in rows])]
    )
    metadata_files, notes = [file for file in files if file not in rows], list[str]()
    excluded, base_width = list[str](), frame.width  # columns without metadata
    for file in metadata_files:
        metadata = _match_metadata(rows, file)
        if metadata is None:
            notes.append(f"{file.name} does not describe these sequences: left out")
            continue
        excluded += metadata.columns if frame.width > base_width else []
        duplicates = [name for name in metadata.columns if name in frame.columns]
        frame = pl.concat([frame, metadata.drop(duplicates)], how="horizontal")
        notes.append(f"{file.name}: {', '.join(metadata.columns)}")
    if len(files) == 1:
        notes.append("the file is read as one sequence; for a table of rows, give the path of the file")
    folders = {file.folders for file in rows}
    if frame.width == base_width and len(folders) > 1 and all(folders):
        n_common = len(set.intersection(*({folder[0]} for folder in folders)))
        frame = frame.with_columns(pl.Series(CLASS, ["/".join(file.folders[n_common:]) for file in rows]))
        return Table(frame, source, tuple(notes), CLASS, excluded_columns=(FILE,), id_column=FILE)
    return Table(
        frame, source, (format_count(len(rows), "sequence"), *notes), excluded_columns=(FILE, *excluded), id_column=FILE
    )


def _are_sequences(files: Sequence[CollectionFile]) -> bool:
    """Whether files hold numbers, and are not the parts of one table, such as train.csv and test.csv."""
    if all(file.stem.lower() in (*TRAIN_FOLDERS, *TEST_FOLDERS) for file in files):
        return False
    frame = read_content(files[0].read()).frame
    text = frame.select(pl.all().cast(pl.String).str.strip_chars())
    numbers = text.select(pl.all().cast(pl.Float64, strict=False))
    n_numeric = sum(numbers[name].count() >= text[name].count() / 2 for name in frame.columns)
    return n_numeric > len(frame.columns) / 2


def _first_line(file: CollectionFile) -> tuple[str, ...]:
    line = re.split(rb"[\r\n]", file.read()[:4096], maxsplit=1)[0].decode("utf-8", errors="replace").strip()
    cells = next(csv.reader([line]), [])
    is_numeric = all(re.fullmatch(r"\s*-?[\d.eE+-]+\s*", cell) for cell in cells)
    return (str(len(cells)),) if is_numeric else tuple(cells)


def _load_sequences(files: list[CollectionFile]) -> tuple[list[np.ndarray], int]:
    """The numbers (T, channels) of each file, NaN if missing."""
    sequences = list[np.ndarray]()
    for file in files:
        content = file.read()
        try:
            frame = _read_csv_fast(content) if sequences else read_content(content).frame
            numbers = frame.select(pl.all().cast(pl.Float64, strict=False)).to_numpy()
        except (TableError, pl.exceptions.PolarsError) as error:
            raise TableError(f"{file.name!r} cannot be read as a sequence: {error}") from error
        if sequences and numbers.shape[1] != sequences[0].shape[1]:
            raise TableError(
                f"{file.name!r} has {format_count(numbers.shape[1], 'channel')}, but {files[0].name!r} has "
                f"{sequences[0].shape[1]}. Give all files the same."
            )
        sequences.append(numbers.astype(np.float32))
    return sequences, sequences[0].shape[1]


def _read_csv_fast(content: bytes) -> pl.DataFrame:
    """Read plain CSV, with or without a header, without detecting its dialect."""
    content = content if b"\n" in content else content.replace(b"\r", b"\n")  # line ends of old Macs
    first = content.split(b"\n", 1)[0]
    header = not re.fullmatch(rb"[\s\d.,;eE+-]+", first)
    separator = max(",;\t", key=lambda mark: first.count(mark.encode()))
    frame = pl.read_csv(io.BytesIO(content), separator=separator, has_header=header, infer_schema=False)
    return frame.select(pl.all().str.strip_chars())


def _match_metadata(sequences: list[CollectionFile], file: CollectionFile) -> pl.DataFrame | None:
    """The columns of a table with a row for each sequence, in the order of the sequences; None for other tables."""
    frame = read_content(file.read()).frame
    frame.columns = [name.lstrip("#").strip() for name in frame.columns]
    for name in frame.columns:
        keys = frame[name].cast(pl.String).str.strip_chars().to_list()
        positions = {key: position for position, key in enumerate(keys)}
        if len(positions) < len(keys):
            continue
        for make_key in (_last_number, lambda file: file.stem, lambda file: PurePosixPath(file.name).name):
            sequence_keys = [make_key(sequence) for sequence in sequences]
            if all(key in positions for key in sequence_keys):
                return frame[[positions[key] for key in sequence_keys]].drop(name)
    return None


def _last_number(file: CollectionFile) -> str:
    """The last number in the name of a file."""
    numbers = re.findall(r"\d+", file.stem)
    return str(int(numbers[-1])) if numbers else file.stem
