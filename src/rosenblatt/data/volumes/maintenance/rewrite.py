"""Commit a version whose metadata files were rewritten: without some samples, or with others' places of their bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import polars as pl

from rosenblatt.data.volumes.columns import HASH, KINDS_WITH_BYTES, LENGTH, OFFSET, PACK
from rosenblatt.data.volumes.storage.log import (
    Commit,
    DataFile,
    LogVersion,
    VolumeLog,
    compute_root,
    current_user,
    new_token,
)
from rosenblatt.data.volumes.storage.pack_writer import StoredPlace

_NEW_PACK, _NEW_OFFSET = "\0pack", "\0offset"
Places = Mapping[tuple[str, str], StoredPlace]  # new places of contents by the name of their old pack and their hash


def move_rows(rows: pl.DataFrame, places: Places) -> pl.DataFrame:
    """Let rows refer to the new places of their bytes."""
    moved = pl.DataFrame(
        [(*key, *place) for key, place in places.items()],
        schema={PACK: pl.String, HASH: pl.String, _NEW_PACK: pl.String, _NEW_OFFSET: pl.Int64},
        orient="row",
    )
    joined = rows.join(moved, on=[PACK, HASH], how="left", maintain_order="left")
    return joined.with_columns(
        pl.coalesce(_NEW_PACK, PACK).alias(PACK), pl.coalesce(_NEW_OFFSET, OFFSET).alias(OFFSET)
    ).drop(_NEW_PACK, _NEW_OFFSET)


def commit_rewritten(
    log: VolumeLog,
    base: LogVersion,
    replaced: Mapping[str, DataFile | None],
    removed_rows: Sequence[pl.DataFrame],
    message: str,
) -> Commit:
    """Commit the version after `base`, with some metadata files replaced. Call it in a section of markers.

    Args:
        log: of the volume.
        base: its latest version.
        replaced: new metadata files by the path of the old one; None if no rows are left.
        removed_rows: samples that the new version does not have.
        message: for the log.

    Raises:
        ConflictError: if another commit came first.
        StorageError: if the store cannot be written.
    """
    old = {file.path: file for file in base.data_files}
    files = [file for path in old if (file := replaced.get(path, old[path]))]
    frame = pl.DataFrame(
        [(file.path, file.size, file.rows) for file in files],
        schema={"path": pl.String, "size": pl.Int64, "rows": pl.Int64},
        orient="row",
    )
    n_removed = sum(rows.height for rows in removed_rows)
    n_bytes = 0
    if base.commit.kind in KINDS_WITH_BYTES:
        n_bytes = sum(int(rows[LENGTH].sum()) for rows in removed_rows if LENGTH in rows.columns)
    commit = base.commit.model_copy(
        update={
            "version": base.commit.version + 1, "root": compute_root(base.schema, frame), "parent": base.commit.root,
            "token": new_token(), "who": current_user(), "message": message, "created": time.time(),
            "n_samples": sum(file.rows for file in files), "n_bytes": base.commit.n_bytes - n_bytes,
            "added": 0, "changed": 0, "removed": n_removed,
        }
    )  # fmt: skip
    added = [file for path, file in replaced.items() if file and path in old]
    log.commit(commit, None, added, [old[path] for path in replaced if path in old])
    return commit
