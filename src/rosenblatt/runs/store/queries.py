"""Queries on a store: runs, their details, curves and output."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, func, not_, select

from rosenblatt.errors import RunError, StoreError, did_you_mean, format_list
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.store.details import Artifact, MetricSummary, Param, RunDetails, RunRecord
from rosenblatt.runs.store.filters import Field, parse_filter, parse_sort, state_column
from rosenblatt.runs.store.records import NOTE_PREFIX
from rosenblatt.runs.store.schema import (
    artifacts,
    curve_chunks,
    documents,
    log_query,
    log_segments,
    metrics,
    output,
    params,
    point_logs,
    run_metadata,
    runs,
    tags,
)
from rosenblatt.runs.store.store import Store, batches

if TYPE_CHECKING:  # loads NumPy, which would delay `rosenblatt runs`
    from rosenblatt.runs.store.curves import CurvePoints, CurveSummary

MAX_LISTED_MATCHES = 5  # runs in a message
MAX_PLOT_POINTS = 1000  # points of a curve in a plot
MAX_WRITING_RUNS = 200  # the newest runs whose written files are known as results


def find_runs(
    store: Store,
    where: str = "",
    sort: str = "-started",
    limit: int | None = None,
    *,
    parent: str | None = None,
    reused_trials: Collection[str] = (),
    include_trials: bool = True,
) -> list[RunRecord]:
    """Find the runs that match a filter; their records include the fields that filter and sort refer to.

    Args:
        store: The store.
        where: A filter; see `filters`.
        sort: A field to sort by, with a minus before it in descending order.
        limit: The maximum number of runs.
        parent: If given, only the trials of this search, or the runs that this script started.
        reused_trials: Trials of other searches that count as those of `parent`.
        include_trials: Whether trials of searches are included.

    Raises:
        FilterError: If the filter or the field to sort by cannot be parsed.
        RunError: If nothing matches because no run has a field of the filter.
    """
    order_columns, sort_field = parse_sort(sort)
    fields, conditions = [sort_field], []
    if where:
        predicate, filter_fields = parse_filter(where)
        fields += filter_fields
        conditions.append(predicate)
    if parent:
        conditions.append((runs.c.parent == parent) | runs.c.id.in_(reused_trials))
    elif not include_trials:
        conditions.append(runs.c.kind != "trial")
    extra_fields = {_column_label(field): field for field in fields if field.group != "attribute"}
    columns = [column for column in runs.c if column.name != "state"]
    query = select(
        *columns,
        state_column().label("state"),
        *(field.column(numeric=False).label(label) for label, field in extra_fields.items()),
    )
    query = query.where(*conditions).order_by(*order_columns, runs.c.number.desc(), runs.c.id).limit(limit)
    with store.reading() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    records = []
    for row in rows:
        try:
            records.append(RunRecord.model_validate(row))
        except ValidationError as error:
            raise _unknown_form(row["id"], {str(problem["loc"][0]) for problem in error.errors()}) from error
    if not records and where:
        _check_field_names(store, fields)
    return records


def find_reused_trials(store: Store, search: str) -> list[str]:
    """Find the ids of the trials that a search of `tune` took over from earlier searches."""
    metadata, _ = load_metadata(store, search, ["reused_trials"])
    ids = metadata.get("reused_trials")
    return [run for run in ids if isinstance(run, str)] if isinstance(ids, list) else []


def _column_label(field: Field) -> str:
    suffix = "" if field.group != "metrics" or field.statistic == "last" else f".{field.statistic}"
    return f"{field.group}.{field.name}{suffix}"


def _check_field_names(store: Store, fields: Sequence[Field]) -> None:
    """Raise RunError if no run has a hyperparameter, metric or tag of this name."""
    tables = {"params": params, "metrics": metrics, "tags": tags}
    with store.reading() as connection:
        for field in fields:
            table = tables.get(field.group)
            if table is None:
                continue
            names = set(connection.execute(select(table.c.name).distinct().limit(10_000)).scalars())
            if names and field.name not in names:
                kind = {"params": "hyperparameter", "metrics": "metric", "tags": "tag"}[field.group]
                raise RunError(f"No run has a {kind} {field.name!r}.{did_you_mean(field.name, names)}")


def find_run(store: Store, name_or_id: str, min_prefix: int = 1) -> str:
    """Find the id of a run from its id, its name, a prefix of its id, or `last` for the newest run.

    Args:
        store: The store.
        name_or_id: An id counts more than a name, and a name more than a prefix; a search counts more than its trials.
        min_prefix: The least number of characters of a prefix.

    Raises:
        RunError: If no run matches, or several do, which are listed.
    """
    is_trial = runs.c.kind == "trial"
    if name_or_id == "last":
        matches = _find_matching(store, ~is_trial, limit=1)
        if not matches:
            raise RunError("There are no runs yet.")
        return matches[0].id
    conditions = [runs.c.id == name_or_id, runs.c.name == name_or_id]
    if len(name_or_id) >= min_prefix:
        begins = runs.c.id.startswith(name_or_id, autoescape=True)
        conditions += [begins & ~is_trial, begins & is_trial]
    for condition in conditions if name_or_id else []:
        matches = _find_matching(store, condition, limit=MAX_LISTED_MATCHES + 1)
        if len(matches) == 1:
            return matches[0].id
        if matches:
            raise RunError(_describe_ambiguity(name_or_id, matches))
    if 0 < len(name_or_id) < min_prefix:
        raise RunError(f"No run has the id or name {name_or_id!r}. Type at least {min_prefix} characters of an id.")
    with store.reading() as connection:
        names = set(connection.execute(select(runs.c.id).limit(10_000)).scalars())
        names |= set(connection.execute(select(runs.c.name).distinct().limit(10_000)).scalars())
    raise RunError(f"There is no run {name_or_id!r}.{did_you_mean(name_or_id, names)} `rosenblatt runs` lists them.")


def load_records(store: Store, ids: Sequence[str]) -> list[RunRecord]:
    """Load the records of some runs."""
    return [record for batch in batches(ids) for record in _find_matching(store, runs.c.id.in_(batch))]


def _find_matching(store: Store, condition: ColumnElement[bool], limit: int | None = None) -> list[RunRecord]:
    """Find the runs that fulfil a condition, newest first."""
    columns = [column for column in runs.c if column.name != "state"]
    query = select(*columns, state_column().label("state")).where(condition)
    query = query.order_by(runs.c.started.desc(), runs.c.id).limit(limit)
    with store.reading() as connection:
        return [RunRecord.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def _describe_ambiguity(name: str, matches: Sequence[RunRecord]) -> str:
    listed = []
    for run in matches[:MAX_LISTED_MATCHES]:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
        listed.append(f"{run.id} {run.name!r} ({started})" if run.name else f"{run.id} ({started})")
    more = "; and more" if len(matches) > MAX_LISTED_MATCHES else ""
    return f"{name!r} is ambiguous. It matches, newest first: {'; '.join(listed)}{more}. Give the id of one of them."


def count_trials(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """Count the trials of each search; runs without trials are left out."""
    return _count_children(store, ids, runs.c.kind == "trial")


def count_child_runs(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """Count the runs that the script of each run started; runs without any are left out."""
    return _count_children(store, ids, runs.c.kind != "trial")


def _count_children(store: Store, ids: Sequence[str], condition: ColumnElement[bool]) -> dict[str, int]:
    counts: dict[str, int] = {}
    with store.reading() as connection:
        for batch in batches(ids):
            query = select(runs.c.parent, func.count()).where(runs.c.parent.in_(batch), condition)
            counts |= {str(parent): int(count) for parent, count in connection.execute(query.group_by(runs.c.parent))}
    return counts


def load_summaries(store: Store, ids: Sequence[str]) -> dict[str, dict[str, MetricSummary]]:
    """Load the summaries of all metrics, by run and name; those of live runs cover all points in the store."""
    summaries: dict[str, dict[str, MetricSummary]] = {run: {} for run in ids}
    unsummarized: dict[str, dict[str, CurveSummary]] = {}
    for batch in batches(ids):
        query = log_query(point_logs.c.run).where(point_logs.c.run.in_(batch), not_(log_segments.c.is_summarized))
        with store.reading() as connection:
            live_runs = list(connection.execute(query.distinct()).scalars())
            if live_runs:
                from rosenblatt.runs.store.point_log import load_unsummarized

                unsummarized |= load_unsummarized(connection, live_runs)
    for row in _select_rows(store, metrics, ids):
        run, name, direction = row.pop("run"), row.pop("name"), row.pop("direction")
        later = unsummarized.get(run, {}).pop(name, None)
        if later:
            from rosenblatt.runs.store.curves import CurveSummary, merge_summaries

            row.update(merge_summaries(CurveSummary(**row), later)._asdict())
        numbers = {key: value if isinstance(value, int | float) else None for key, value in row.items()}
        summaries[run][name] = MetricSummary.model_validate(
            numbers
            | {"step": numbers["step"] or 0, "best": numbers[direction], "best_step": numbers[f"{direction}_step"]}
        )
    return summaries


def load_params(store: Store, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Load hyperparameters as text, by run and name."""
    values: dict[str, dict[str, str]] = {run: {} for run in ids}
    for row in _select_rows(store, params, ids):
        values[row["run"]][row["name"]] = row["value"]
    return values


def list_artifacts(store: Store, run: str) -> dict[str, Artifact]:
    """List the stored files of a run by name."""
    return {row.pop("name"): Artifact.model_validate(row) for row in _select_rows(store, artifacts, [run])}


def run_details(store: Store, run: str) -> RunDetails:
    """Load everything recorded of a run but its curves and output.

    Records in an unknown form are left out, and named in `unreadable`.

    Raises:
        StoreError: If the row of the run itself has an unknown form.
    """
    with store.reading() as connection:
        attributes = dict(connection.execute(select(runs).where(runs.c.id == run)).mappings().one())
        attributes["state"] = connection.execute(select(state_column()).where(runs.c.id == run)).scalar()
    run_params = {
        row["name"]: Param(value=row["value"], explicit=row["explicit"]) for row in _select_rows(store, params, [run])
    }
    metadata, unreadable = load_metadata(store, run)
    notes = {name: metadata.pop(name) for name in list(metadata) if name.startswith(NOTE_PREFIX)}
    recorded: dict[str, Any] = {
        **metadata,
        **attributes,
        "params": dict(sorted(run_params.items())),
        "tags": {row["name"]: row["value"] for row in _select_rows(store, tags, [run])},
        "metrics": dict(sorted(load_summaries(store, [run])[run].items())),
        "artifacts": list_artifacts(store, run),
        "trials": count_trials(store, [run]).get(run, 0),
        "child_runs": count_child_runs(store, [run]).get(run, 0),
        "notes": {name.removeprefix(NOTE_PREFIX): value for name, value in notes.items()},
    }
    try:
        RunDetails.model_validate(recorded)
    except ValidationError as error:
        unreadable += sorted({str(problem["loc"][0]) for problem in error.errors()})
    if attributes.keys() & set(unreadable):
        raise _unknown_form(run, unreadable)
    readable = {name: value for name, value in recorded.items() if name not in unreadable}
    return RunDetails.model_validate(readable | {"unreadable": unreadable})


def _unknown_form(run: str, fields: Iterable[str]) -> StoreError:
    return StoreError(f"Run {run} has records in an unknown form: {format_list(fields)}. Another version wrote them.")


def load_metadata(store: Store, run: str, names: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Load the metadata of a run, all or those of some names, and the names of damaged ones.

    Source and environment are replaced by the documents they refer to.
    """
    query = select(run_metadata.c.name, run_metadata.c.value).where(run_metadata.c.run == run)
    if names:
        query = query.where(run_metadata.c.name.in_(names))
    metadata, damaged = dict[str, Any](), list[str]()
    with store.reading() as connection:
        for name, text in connection.execute(query).all():
            try:
                value = json.loads(text)
                if name in ("source", "environment"):
                    document = select(documents.c.text).where(documents.c.hash == str(value))
                    value = json.loads(connection.execute(document).scalar() or "{}")
            except (TypeError, ValueError, RecursionError):
                damaged.append(name)
            else:
                metadata[name] = value
    return metadata, damaged


def load_curves(
    store: Store, ids: Sequence[str], metric: str, max_points: int | None = MAX_PLOT_POINTS
) -> dict[str, CurvePoints]:
    """Load the curves of a metric by run, each with about `max_points` points and its extremes; None keeps all."""
    from rosenblatt.runs.store.curves import downsample

    curves: dict[str, CurvePoints] = {}
    for batch in batches(ids):
        curves |= {run: points for (run, _), points in _load_points(store, batch, metric).items()}
    return curves if max_points is None else {run: downsample(points, max_points) for run, points in curves.items()}


def load_all_curves(store: Store, run: str) -> dict[str, CurvePoints]:
    """Load all points of all curves of one run, by metric."""
    return {metric: points for (_, metric), points in sorted(_load_points(store, [run]).items())}


def _load_points(store: Store, ids: Sequence[str], metric: str | None = None) -> dict[tuple[str, str], CurvePoints]:
    """Load all points of one or all metrics of some runs, from chunks and logs, by run and metric."""
    from rosenblatt.runs.store.curves import decode, merge
    from rosenblatt.runs.store.point_log import load_logs

    chunk = curve_chunks.c
    query = select(chunk.run, chunk.metric, chunk.points).where(chunk.run.in_(ids))
    if metric is not None:
        query = query.where(chunk.metric == metric)
    parts: dict[tuple[str, str], list[CurvePoints]] = {}
    with store.reading() as connection:
        rows = connection.execute(query.order_by(chunk.run, chunk.metric, chunk.writer, chunk.chunk_index))
        for run, name, blob in rows:
            parts.setdefault((run, name), []).append(decode(blob))
        for run, log in load_logs(connection, ids, metric).items():
            for name, points in log.curves().items():
                parts.setdefault((run, name), []).append(points)
    return {key: merge(curve_parts) for key, curve_parts in parts.items()}


def load_output(store: Store, run: str) -> list[tuple[str, str]]:
    """Load the output of a run in order, as pairs of a stream (stdout or stderr) and text."""
    query = select(output.c.stream, output.c.text).where(output.c.run == run)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(output.c.time, output.c.writer, output.c.chunk_index))
        return [(stream, text) for stream, text in rows]


def written_files(url: str) -> dict[str, str]:
    """The files that recent runs wrote, by absolute path, with the hashes of what they wrote last."""
    query = select(run_metadata.c.value).join(runs, runs.c.id == run_metadata.c.run)
    query = query.where(run_metadata.c.name == "outputs").order_by(runs.c.started.desc()).limit(MAX_WRITING_RUNS)
    try:
        with closing(Store(url)) as store, store.reading() as connection:
            values = list(connection.execute(query).scalars())
    except StoreError:  # it is raised again when the run begins, unless it passes
        return {}
    hashes: dict[str, str] = {}
    files_adapter = TypeAdapter(tuple[InputFile, ...])
    for value in reversed(values):
        with suppress(ValidationError):  # damaged; `run_details` names it
            hashes |= {file.path: file.hash for file in files_adapter.validate_json(value)}
    return hashes


def _select_rows(store: Store, table: Any, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
    for batch in batches(ids):
        with store.reading() as connection:
            yield from [dict(row) for row in connection.execute(select(table).where(table.c.run.in_(batch))).mappings()]
