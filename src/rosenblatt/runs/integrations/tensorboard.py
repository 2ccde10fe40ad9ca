"""Export of the curves of a run to an event file of TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rosenblatt.runs.store.curves import CurvePoints


def write(folder: Path, curves: Mapping[str, CurvePoints], params: Mapping[str, str], started: float) -> None:
    """Write one event file to a folder. TensorBoard reads values as float32, so the file holds these."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"events.out.tfevents.{int(started)}.rosenblatt").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=started, file_version="brain.Event:2").SerializeToString())
        table = "\n".join(
            ["|hyperparameter|value|", "|---|---|", *(f"|{_cell(k)}|{_cell(v)}|" for k, v in params.items())]
        )
        text = Summary.Value(tag="hyperparameters/text_summary")
        text.metadata.plugin_data.plugin_name = "text"
        text.tensor.dtype = 7  # DT_STRING
        text.tensor.tensor_shape.dim.add().size = 1
        text.tensor.string_val.append(table.encode())
        writer.write(Event(wall_time=started, summary=Summary(value=[text])).SerializeToString())
        for name, points in curves.items():
            for step, time, value in zip(*(column.tolist() for column in points), strict=True):
                scalar = Summary(value=[Summary.Value(tag=name, simple_value=_to_float32(value))])
                writer.write(Event(wall_time=time / 1e6, step=step, summary=scalar).SerializeToString())
        writer.flush()


def _cell(text: str) -> str:
    """Escape a text for a cell of a table in Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _to_float32(value: float) -> float:
    """Round to float32; infinity beyond its range."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
