/** A scatter plot of any two fields of runs. */
import { h } from "preact";
import { useMemo } from "preact/hooks";
import htm from "htm";
import { updateQuery } from "../state.js";
import { Chart } from "./chart.js";
import { styleOf } from "./colors.js";
import { fieldTitle } from "./format.js";

const html = htm.bind(h);

/** @param {any} value @returns {number} NaN if it is not a number */
export function toNumber(value) {
  return typeof value === "number" ? value : typeof value === "string" && value.trim() !== "" ? Number(value) : NaN;
}

/** @param {{table: any, names: string[], fields: string[], query: Record<string, string>}} props */
export function Scatter({ table, names, fields, query }) {
  const numeric = fields.filter((name) => table.columns[name].some((value) => Number.isFinite(toNumber(value))));
  const metrics = numeric.filter((name) => name.startsWith("metrics."));
  const x = numeric.includes(query.sx) ? query.sx : numeric[0], y = numeric.includes(query.sy) ? query.sy : metrics.find((name) => name !== x) ?? numeric[1];
  const points = useMemo(() => table.ids.map((_, index) => ({ x: toNumber(table.columns[x]?.[index]), y: toNumber(table.columns[y]?.[index]) }))
    .filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y)).sort((a, b) => a.x - b.x), [table, x, y]);
  const chart = useMemo(() => ({ x: points.map((point) => point.x), lines: [{ ...styleOf(0), label: "runs", values: points.map((point) => point.y), points: true }] }), [points]);
  if (!x || !y) return null;
  const choose = (key, value) => html`<select value=${value} onChange=${(event) => updateQuery({ [key]: event.target.value })}>${numeric.map((name) => html`<option value=${name} selected=${name === value}>${fieldTitle(name)}</option>`)}</select>`;
  const isLog = (key) => query[key] === "yes";
  const toggle = (key, text) => html`<label><input type="checkbox" checked=${isLog(key)} onChange=${() => updateQuery({ [key]: isLog(key) ? "" : "yes" })} /> ${text}</label>`;
  return html`<section aria-labelledby="scatter"><h2 id="scatter">Scatter plot</h2>
    <div class="tools"><label>x ${choose("sx", x)}</label> <label>y ${choose("sy", y)}</label> ${toggle("slogx", "log x")} ${toggle("slogy", "log y")}</div>
    ${points.length ? html`<${Chart} name=${`${fieldTitle(y)} by ${fieldTitle(x)}`} x=${chart.x} lines=${chart.lines} xTitle=${fieldTitle(x)} yTitle=${fieldTitle(y)} logX=${isLog("slogx") && chart.x[0] > 0} logY=${isLog("slogy")}
        note=${points.length < table.ids.length ? `${table.ids.length - points.length} of ${table.ids.length} runs have no finite number in both fields.` : ""} />`
      : html`<p class="message">No run has a finite number in both fields. Choose others.</p>`}
  </section>`;
}
