/** A grid of the runs that match a filter: the window that is visible is loaded, again every second. */
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { addressOf } from "../state.js";
import { fieldTitle, formatCell, formatDuration } from "./format.js";
import { Grid } from "./grid.js";

const html = htm.bind(h);
const REFRESH_MS = 1000, WINDOW = 200, MAX_WINDOW = 500;
const WIDTHS = { name: 200, started: 180, state: 220, duration: 110, kind: 80 };

/** @param {string} name */
function makeColumn(name) {
  const isNumeric = name.startsWith("metrics.") || name === "duration" || name === "number";
  return { name, title: fieldTitle(name), width: WIDTHS[name] ?? 130, isNumeric };
}

/** The state of a run, with the progress of one that runs. */
function formatState(state, progress) {
  if (!progress) return state;
  const left = progress.seconds_left === null ? "" : `, ${progress.is_limit ? "at most " : ""}${formatDuration(progress.seconds_left)} left`;
  return `${state} ${Math.floor(100 * progress.fraction)} %${left}`;
}

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.where @param {boolean} props.trials
 * @param {string[]} props.columns
 * @param {string} props.sort @param {boolean} props.descending
 * @param {Set<string>} props.selected
 * @param {(id: string) => void} props.onToggle
 * @param {(column: string) => void} props.onSort
 * @param {(window: {total: number, ids: string[]} | null, error: string) => void} props.onLoad called with what was loaded
 * @param {number} [props.refresh] changes to load at once
 */
export function RunGrid({ label, where, trials, columns, sort, descending, selected, onToggle, onSort, onLoad, refresh = 0 }) {
  const [window_, setWindow] = useState({ total: 0, offset: 0, ids: [], columns: {}, progress: {} });
  const [visible, setVisible] = useState(null);
  const request = visible && {
    where, sort, descending, trials, offset: Math.max(0, visible.first - 20),
    limit: Math.min(MAX_WINDOW, Math.max(WINDOW, visible.last - visible.first + 40)), columns: visible.columns.join(","),
  };
  const key = JSON.stringify(request);
  useEffect(() => {
    if (!request) return undefined;
    const controller = new AbortController();
    let timer = 0;
    const load = async () => {
      try {
        if (!document.hidden) {
          const answer = await get("/api/runs", request, controller.signal);
          setWindow(answer);
          onLoad(answer, "");
        }
      } catch (failure) {
        if (!controller.signal.aborted) onLoad(null, failure.message);
      }
      if (!controller.signal.aborted) timer = setTimeout(load, REFRESH_MS);
    };
    load();
    return () => { controller.abort(); clearTimeout(timer); };
  }, [key, refresh]);
  const rowId = (row) => window_.ids[row - window_.offset];
  const cell = (row, column) => {
    const cells = window_.columns[column], index = row - window_.offset;
    if (!cells || index < 0 || index >= cells.length) return undefined;
    if (column === "name") return cells[index] || rowId(row);
    return column === "state" ? formatState(cells[index], window_.progress[rowId(row)]) : formatCell(cells[index], column);
  };
  return html`
    <${Grid} label=${label} columns=${columns.map(makeColumn)} total=${window_.total} selected=${selected} sort=${sort} descending=${descending}
      cell=${cell} rowId=${rowId} onToggle=${onToggle} onSort=${onSort} linkColumn="name" href=${(row) => rowId(row) && addressOf(`runs/${rowId(row)}`)}
      onWindow=${(first, last, shown) => setVisible({ first, last, columns: shown })} />`;
}
