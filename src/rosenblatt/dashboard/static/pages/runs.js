/** All runs: filter, sort, choose columns, select. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { route, updateQuery } from "../state.js";
import { Grid } from "../parts/grid.js";

const html = htm.bind(h);
const ATTRIBUTES = ["name", "experiment", "kind", "state", "started", "duration"];
const REFRESH_MS = 1000, MAX_DEFAULT_COLUMNS = 40, WINDOW = 200;
const COLUMN = /(?:[^,`"]|`[^`]*`|"[^"]*"|[`"])+/g; // commas in quotes do not separate
const STATISTICS = ["last", "best", "min", "max"];

/** @param {any} value @param {string} column */
function format(value, column) {
  if (value === null) return "";
  if (column === "started" || column === "ended") return new Date(value * 1000).toLocaleString("sv-SE"); // 2026-11-27 14:30:00
  if (column === "duration" && typeof value === "number") return value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

/** @param {string} name */
function makeColumn(name) {
  const isNumeric = name.startsWith("metrics.") || name === "duration";
  return { name, title: name.replace(/^(params|metrics|tags)\./, "").replace(/^([`"])(.*)\1/, "$2"), width: name === "started" ? 180 : 130, isNumeric };
}

export function RunsPage() {
  const { where = "", sort = "started", order = "", columns = "", trials = "" } = route.value.query;
  const descending = order !== "ascending";
  const [fields, setFields] = useState(null);
  const [window_, setWindow] = useState({ total: 0, offset: 0, ids: [], columns: {} });
  const [error, setError] = useState("");
  const [isLoaded, setLoaded] = useState(false);
  const [selected, setSelected] = useState(new Set());
  const [visible, setVisible] = useState(null);
  const filterBox = useRef(null);
  const isTrials = trials === "yes";

  useEffect(() => {
    const controller = new AbortController();
    const load = async () => {
      let answer;
      do {
        answer = await get("/api/fields", { where, trials: isTrials }, controller.signal);
        setFields(answer);
      } while (answer.examined < answer.total);
    };
    load().catch((failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [where, isTrials, window_.total]);

  const differing = (fields?.fields ?? []).filter((field) => field.differs && !/^metrics\.[`"]?system\//.test(field.name)).map((field) => field.name).slice(0, MAX_DEFAULT_COLUMNS);
  const names = columns ? columns.match(COLUMN) : [...ATTRIBUTES, ...differing];
  const request = visible && {
    where, sort, descending, trials: isTrials, offset: Math.max(0, visible.first - 20),
    limit: Math.min(500, Math.max(WINDOW, visible.last - visible.first + 40)), columns: visible.columns.join(","),
  };
  const key = JSON.stringify(request);
  useEffect(() => {
    if (!request) return undefined;
    const controller = new AbortController();
    let timer = 0;
    const load = async () => {
      try {
        if (!document.hidden) {
          setWindow(await get("/api/runs", request, controller.signal));
          setError("");
          setLoaded(true);
        }
      } catch (failure) {
        if (!controller.signal.aborted) setError(failure.message);
      }
      if (!controller.signal.aborted) timer = setTimeout(load, REFRESH_MS);
    };
    load();
    return () => { controller.abort(); clearTimeout(timer); };
  }, [key]);

  function toggle(id) {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    setSelected(next);
  }
  function toggleColumn(name) {
    updateQuery({ columns: (names.includes(name) ? names.filter((other) => other !== name) : [...names, name]).join(",") });
  }
  const choices = [...ATTRIBUTES, ...(fields?.fields ?? []).flatMap(({ name, kind }) =>
    kind === "metrics" ? STATISTICS.map((statistic) => statistic === "last" ? name : `${name}.${statistic}`) : [name])];
  return html`
    <h1>Runs</h1>
    <form class="tools" onSubmit=${(event) => { event.preventDefault(); updateQuery({ where: filterBox.current.value.trim() }); }}>
      <label>Filter <input ref=${filterBox} name="where" value=${where} size="50" placeholder="params.activation = 'relu' and metrics.auc > 0.9" /></label>
      <button>Apply</button>
      <label><input type="checkbox" checked=${isTrials} onChange=${() => updateQuery({ trials: isTrials ? "" : "yes" })} /> Trials of searches</label>
      <details><summary>Columns (${names.length})</summary>
        <fieldset><legend>Columns to show</legend>
          ${choices.map((name) => html`<label key=${name}><input type="checkbox" checked=${names.includes(name)} onChange=${() => toggleColumn(name)} /> ${name}</label>`)}
          ${fields?.hidden > 0 && html`<p>Not shown: ${fields.hidden} whose names have quotes of both kinds.</p>`}
          <button type="button" onClick=${() => updateQuery({ columns: "" })}>Those that differ</button>
        </fieldset>
      </details>
      <output>${window_.total.toLocaleString()} runs, ${selected.size} selected</output>
    </form>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${isLoaded && !error && window_.total === 0 && html`<p class="message">${where
      ? "No run matches the filter. Change it, or include the trials of searches."
      : "There are no runs. Start one: rosenblatt fit people.csv --target income"}</p>`}
    <${Grid} label="Runs" columns=${names.map(makeColumn)} total=${window_.total} selected=${selected} sort=${sort} descending=${descending}
      cell=${(row, column) => { const cells = window_.columns[column], index = row - window_.offset; return cells && index >= 0 && index < cells.length ? format(cells[index], column) : undefined; }}
      rowId=${(row) => window_.ids[row - window_.offset]} onToggle=${toggle}
      onSort=${(column) => updateQuery({ sort: column, order: column === sort && descending ? "ascending" : "" })}
      onWindow=${(first, last, shown) => setVisible({ first, last, columns: shown })} />`;
}
