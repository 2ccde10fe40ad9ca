"""In: a store, and what to look for. Out: runs, their curves and all that is known of them, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from rosenblatt.errors import RunError, StoreLostError, nearest
from rosenblatt.runs.store.artifacts import hash_of
from rosenblatt.runs.store.curves import Points, decode, joined, thinned
from rosenblatt.runs.store.filters import Field, condition, order, state
from rosenblatt.runs.store.records import NOTE
from rosenblatt.runs.store.schema import artifacts, chunks, documents, facts, metrics, output, params, runs, tags
from rosenblatt.runs.store.store import Store

DRAWN = 1000  # points of a curve that are drawn


def find_runs(
    store: Store,
    where: str = "",
    sort: str = "-started",
    limit: int | None = None,
    *,
    of: str | None = None,
    trials: bool = True,
) -> list[dict[str, Any]]:
    """The runs that a filter holds for, sorted: attributes, and the fields that filter and sort speak of.

    Args:
        of: a search, whose trials alone are meant.
        trials: whether trials of searches are meant too.

    Raises FilterError.
    """
    sorted_by, field = order(sort)
    fields, conditions = [field], []
    if where:
        holds, spoken_of = condition(where)
        fields += spoken_of
        conditions.append(holds)
    if of:
        conditions.append(runs.c.parent == of)
    elif not trials:
        conditions.append(runs.c.kind != "trial")
    more = {_label(one): one for one in fields if one.group != "attribute"}
    columns = [column for column in runs.c if column.name != "state"]
    query = select(*columns, state().label("state"), *(one.column(numeric=False).label(k) for k, one in more.items()))
    query = query.where(*conditions).order_by(*sorted_by, runs.c.number.desc(), runs.c.id).limit(limit)
    with store.reading() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
        if not found and where:
            _check_names(store, fields)
    return found


def _label(field: Field) -> str:
    measure = "" if field.group != "metrics" or field.measure == "last" else f".{field.measure}"
    return f"{field.group}.{field.name}{measure}"


def _check_names(store: Store, fields: Sequence[Field]) -> None:
    """Where no run has what a filter speaks of, say so."""
    tables = {"params": params, "metrics": metrics, "tags": tags}
    with store.reading() as connection:
        for field in fields:
            table = tables.get(field.group)
            if table is None:
                continue
            names = set(connection.execute(select(table.c.name).distinct().limit(10_000)).scalars())
            if names and field.name not in names:
                what = {"params": "hyperparameter", "metrics": "metric", "tags": "tag"}[field.group]
                raise RunError(f"No run has a {what} {field.name!r}.{nearest(field.name, names)}")


def run_named(store: Store, word: str) -> str:
    """The id of a run, from its id or how it begins, its name, or `last` for the newest. Raises RunError."""
    with store.reading() as connection:
        if word == "last":
            query = select(runs.c.id).where(runs.c.kind != "trial").order_by(runs.c.started.desc()).limit(1)
            newest = connection.execute(query).scalar()
            if newest is None:
                raise RunError("There are no runs yet.")
            return str(newest)
        query = select(runs.c.id).where(runs.c.id.startswith(word, autoescape=True)).order_by(runs.c.id).limit(4)
        found = list(connection.execute(query).scalars())
        if word in found:
            return word
        if not found:
            query = select(runs.c.id).where(runs.c.name == word).order_by(runs.c.started.desc()).limit(4)
            found = list(connection.execute(query).scalars())
        ids = [] if found else connection.execute(select(runs.c.id).limit(10_000)).scalars().all()
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise RunError(f"There is no run {word!r}.{nearest(word, ids)} `rosenblatt runs` lists them.")
    raise RunError(f"{word!r} is not one run: {', '.join(found[:3])}{' and more' if len(found) > 3 else ''} fit.")


def trials_of(store: Store, ids: Iterable[str]) -> dict[str, int]:
    """How many trials each run has, of those that have some."""
    query = select(runs.c.parent, func.count()).where(runs.c.parent.in_(list(ids))).group_by(runs.c.parent)
    with store.reading() as connection:
        return {str(parent): int(count) for parent, count in connection.execute(query)}


def summaries(store: Store, ids: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """{run: {metric: {last, step, best, min, min_step, max, max_step}}}; NaN is None."""
    found: dict[str, dict[str, dict[str, Any]]] = {one: {} for one in ids}
    for row in _rows_of(store, metrics, ids):
        run, name, which = row.pop("run"), row.pop("name"), row.pop("best")
        found[run][name] = row | {"best": row[which], "best_step": row[f"{which}_step"]}
    return found


def params_of(store: Store, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """{run: {hyperparameter: value}}, as text."""
    found: dict[str, dict[str, str]] = {one: {} for one in ids}
    for row in _rows_of(store, params, ids):
        found[row["run"]][row["name"]] = row["text"]
    return found


def facts_of(store: Store, run: str) -> dict[str, Any]:
    """All facts of a run; source and environment as they were documented."""
    found = {row["name"]: json.loads(row["value"]) for row in _rows_of(store, facts, [run])}
    with store.reading() as connection:
        for name in ("source", "environment"):
            if name in found:
                query = select(documents.c.text).where(documents.c.hash == found[name])
                found[name] = json.loads(connection.execute(query).scalar() or "{}")
    return found


def artifacts_of(store: Store, run: str) -> dict[str, dict[str, Any]]:
    """{name: {kind, hash, bytes, root}}."""
    return {row.pop("name"): row for row in _rows_of(store, artifacts, [run])}


def details(store: Store, run: str) -> dict[str, Any]:
    """All that is known of a run but for its curves and what it printed."""
    with store.reading() as connection:
        attributes = dict(connection.execute(select(runs).where(runs.c.id == run)).mappings().one())
        attributes["state"] = connection.execute(select(state()).where(runs.c.id == run)).scalar()
    chosen = {row["name"]: {"value": row["text"], "chosen": row["chosen"]} for row in _rows_of(store, params, [run])}
    known = facts_of(store, run)
    notes = {name.removeprefix(NOTE): known.pop(name) for name in list(known) if name.startswith(NOTE)}
    return {
        **known,
        **attributes,
        "params": dict(sorted(chosen.items())),
        "tags": {row["name"]: row["text"] for row in _rows_of(store, tags, [run])},
        "metrics": dict(sorted(summaries(store, [run])[run].items())),
        "artifacts": artifacts_of(store, run),
        "trials": trials_of(store, [run]).get(run, 0),
        "notes": notes,
    }


def curves(store: Store, ids: Sequence[str], metric: str, most: int | None = DRAWN) -> dict[str, Points]:
    """{run: points} of one metric, thinned to about `most` points with all extremes; None: every point."""
    found: dict[str, list[Points]] = {}
    for some in _parts(ids):
        query = select(chunks.c.run, chunks.c.points).where(chunks.c.run.in_(some), chunks.c.metric == metric)
        with store.reading() as connection:
            for run, blob in connection.execute(query.order_by(chunks.c.run, chunks.c.writer, chunks.c.number)):
                found.setdefault(run, []).append(decode(blob))
    whole = {run: joined(parts) for run, parts in found.items()}
    return whole if most is None else {run: thinned(points, most) for run, points in whole.items()}


def all_curves(store: Store, run: str) -> dict[str, Points]:
    """{metric: points} of one run, every point."""
    found: dict[str, list[Points]] = {}
    query = select(chunks.c.metric, chunks.c.points).where(chunks.c.run == run)
    with store.reading() as connection:
        for metric, blob in connection.execute(query.order_by(chunks.c.metric, chunks.c.writer, chunks.c.number)):
            found.setdefault(metric, []).append(decode(blob))
    return {metric: joined(parts) for metric, parts in found.items()}


def output_of(store: Store, run: str) -> list[tuple[str, str]]:
    """What a run printed, in order: (stdout or stderr, text)."""
    query = select(output.c.stream, output.c.text).where(output.c.run == run)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(output.c.time, output.c.writer, output.c.number))
        return [(stream, words) for stream, words in rows]


def finished_run(url: str, identity: str) -> str | None:
    """The newest finished run of an identity whose files are all still as they were."""
    query = select(runs.c.id).where(runs.c.identity == identity, runs.c.state == "finished")
    try:
        with closing(Store(url)) as store:
            with store.reading() as connection:
                found = list(connection.execute(query.order_by(runs.c.started.desc()).limit(20)).scalars())
            return next((run for run in found if not changed_files(facts_of(store, run))), None)
    except StoreLostError:
        return None


def changed_files(known: dict[str, Any]) -> list[str]:
    """The files that a run read or imported, by its facts, which have other content now, or are gone."""
    source = known.get("source") or {}
    files = [(one["path"], one["hash"]) for one in (*known.get("data_read", ()), *known.get("modules", ()))]
    if "commit" not in source:
        files += [
            (str(Path(source.get("root", "")) / name), one["hash"]) for name, one in source.get("files", {}).items()
        ]
    changed = []
    for name, digest in files:
        try:
            same = hash_of(Path(name)) == digest
        except OSError:
            same = False
        if not same:
            changed.append(name)
    return changed


def _rows_of(store: Store, table: Any, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
    for some in _parts(ids):
        with store.reading() as connection:
            yield from [dict(row) for row in connection.execute(select(table).where(table.c.run.in_(some))).mappings()]


def _parts(ids: Sequence[str]) -> Iterable[list[str]]:
    names = list(ids)
    return (names[start : start + 500] for start in range(0, len(names), 500))
