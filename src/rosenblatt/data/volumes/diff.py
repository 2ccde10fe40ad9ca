"""Differences between two versions of a volume."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rosenblatt.data.volumes.columns import ID, PLACE_COLUMNS, describe_kind
from rosenblatt.data.volumes.volume import Volume
from rosenblatt.errors import VolumeError


@dataclass(frozen=True)
class VolumeDiff:
    """Samples that only one version has, and samples that changed."""

    added: pl.DataFrame  # rows of the second version
    removed: pl.DataFrame  # rows of the first version
    changed: pl.DataFrame  # id, and the names of the columns that changed
    new_columns: dict[str, str]  # types by name
    dropped_columns: dict[str, str]
    retyped_columns: dict[str, tuple[str, str]]

    @property
    def changed_cells(self) -> dict[str, int]:
        """The number of changed samples by column, the most changed first."""
        counts = self.changed["columns"].explode().value_counts(sort=True).rows()
        return {name: n for name, n in counts if name is not None}


def diff_volumes(first: Volume, second: Volume) -> VolumeDiff:
    """Compare two versions by the identity of their samples; files that both have are not read.

    Raises:
        VolumeError: if the versions hold different kinds of samples.
    """
    if first.kind != second.kind:
        kinds = [describe_kind(version.kind) for version in (first, second)]
        raise VolumeError(f"{first.name} holds {kinds[0]}, but {second.name} holds {kinds[1]}. Compare others.")
    common = {file.path for file in first.data_files} & {file.path for file in second.data_files}
    old, new = (
        version.metadata(files=[k for k, file in enumerate(version.data_files) if file.path not in common])
        for version in (first, second)
    )
    if old.schema[ID] != new.schema[ID]:
        old, new = old.cast({ID: pl.String}), new.cast({ID: pl.String})
    ignored = (ID, *PLACE_COLUMNS) if second.has_bytes else (ID,)
    shared = [name for name in new.columns if name in old.columns and name not in ignored]
    both = old.select(ID, *shared).join(new.select(ID, *shared), on=ID, suffix="\0new", maintain_order="right")
    differences = [
        pl.when(_differs(name, old.schema, new.schema)).then(pl.lit(name)).otherwise(None) for name in shared
    ]
    columns = pl.concat_list(differences).list.drop_nulls() if differences else pl.lit([], pl.List(pl.String))
    changed = both.select(ID, columns.alias("columns")).filter(pl.col("columns").list.len() > 0)
    return VolumeDiff(
        new.join(old.select(ID), on=ID, how="anti", maintain_order="left"),
        old.join(new.select(ID), on=ID, how="anti", maintain_order="left"),
        changed,
        {name: str(dtype) for name, dtype in new.schema.items() if name not in old.schema},
        {name: str(dtype) for name, dtype in old.schema.items() if name not in new.schema},
        {
            name: (str(old.schema[name]), str(new.schema[name]))
            for name in shared
            if old.schema[name] != new.schema[name]
        },
    )


def _differs(name: str, old: pl.Schema, new: pl.Schema) -> pl.Expr:
    left, right = pl.col(name), pl.col(f"{name}\0new")
    if old[name] != new[name]:
        left, right = left.cast(pl.String, strict=False), right.cast(pl.String, strict=False)
    return left.ne_missing(right)
