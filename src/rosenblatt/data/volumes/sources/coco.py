"""Annotations of images in the JSON of COCO (Lin et al. 2014) as a table with a row for each image.

`annotations` holds a struct for each object of an image; `n_annotations` and `categories` are for queries.
"""

from __future__ import annotations

import json
import mmap
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import polars as pl

from rosenblatt.data.readers.json_tables import rows_frame
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.errors import TableError, format_count

ANNOTATIONS, CATEGORIES, N_ANNOTATIONS, FILE_NAME = "annotations", "categories", "n_annotations", "file_name"
_TYPES: dict[str, pl.DataType] = {  # of the fields of an annotation that have one; others are JSON
    "id": pl.Int64(), "category": pl.String(), "bbox": pl.List(pl.Float64()), "area": pl.Float64(),
    "iscrowd": pl.Int64(), "caption": pl.String(), "keypoints": pl.List(pl.Float64()), "num_keypoints": pl.Int64(),
}  # fmt: skip
_LEFT_OUT = ("width", "height")  # of images, which inspection gives


def is_coco(content: bytes | mmap.mmap) -> bool:
    """Whether the content of a file looks like annotations in COCO's format."""
    is_object = content[:100].lstrip().startswith(b"{")
    return is_object and all(content.find(key) >= 0 for key in (b'"images"', b'"annotations"'))


def read_coco(content: bytes, name: str, notes: list[str]) -> Table:
    """Read annotations as a table; the column `file_name` names the images.

    Raises:
        TableError: if the content is not what COCO describes.
    """
    try:
        document = json.loads(content)
        images, annotations = list(document["images"]), list(document[ANNOTATIONS])
        names = {category["id"]: str(category["name"]) for category in document.get(CATEGORIES, [])}
        by_image = defaultdict[Any, list[dict[str, Any]]](list)
        for annotation in annotations:
            by_image[annotation["image_id"]].append(_with_category(annotation, names))
        ids = [image["id"] for image in images]
        rows = [_image_row(image) for image in images]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TableError(f"{name!r} is not in COCO's format: {type(error).__name__} {error}. Correct it.") from error
    if lost := len(annotations) - sum(len(by_image[id_]) for id_ in set(ids)):
        notes.append(f"{format_count(lost, 'annotation')} of images that {name} does not list left out")
    cells = [by_image[id_] for id_ in ids]
    categories = [sorted({str(cell["category"]) for cell in group if "category" in cell}) for group in cells]
    frame = rows_frame(rows).with_columns(
        pl.Series(N_ANNOTATIONS, [len(group) for group in cells], pl.Int64),
        pl.Series(CATEGORIES, categories, pl.List(pl.String)),
        _annotation_column(cells, name),
    )
    return Table(frame, name, format=TableFormat(is_typed=True))


def _image_row(image: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in image.items() if key not in (*_LEFT_OUT, "id")}
    return {FILE_NAME: str(image[FILE_NAME]), "image_id": image["id"]} | row


def _with_category(annotation: dict[str, Any], names: dict[Any, str]) -> dict[str, Any]:
    """An annotation with the name of its category, or its number if it has no name."""
    fields = {key: value for key, value in annotation.items() if key not in ("image_id", "category_id")}
    if "category_id" in annotation:
        fields["category"] = names.get(annotation["category_id"], str(annotation["category_id"]))
    return fields


def _annotation_column(cells: Sequence[list[dict[str, Any]]], name: str) -> pl.Series:
    """Lists of structs, of the fields that occur."""
    present = dict.fromkeys(key for group in cells for annotation in group for key in annotation)
    types = {key: _TYPES.get(key, pl.String()) for key in present}
    try:
        rows = [[{key: _cell(key, annotation.get(key)) for key in types} for annotation in group] for group in cells]
        return pl.Series(ANNOTATIONS, rows, pl.List(pl.Struct(types)) if types else pl.List(pl.String))
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise TableError(f"{name!r} holds annotations of several types: {reason}. Correct it.") from error


def _cell(key: str, value: Any) -> Any:
    """A field of an annotation in its type; JSON for fields that have none."""
    if value is None or _TYPES.get(key) == pl.String:
        return value
    if key not in _TYPES:
        return json.dumps(value, ensure_ascii=False)
    return [float(number) for number in value] if isinstance(_TYPES[key], pl.List) else value
