/** Some runs side by side: curves, bands over groups, scatter, parallel coordinates, importance, and what differs. */
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";
import { get, post } from "../api.js";
import { addressOf, route, updateQuery } from "../state.js";
import { CurveChart, CurveSettings } from "../parts/curve_charts.js";
import { fieldTitle, formatNumber, metricOf, splitNames } from "../parts/format.js";
import { Parallel } from "../parts/parallel.js";
import { Scatter } from "../parts/scatter.js";

const html = htm.bind(h);
const MAX_RUNS = 500, MAX_DIFFERENCES = 20, MAX_AXES = 8;

export function ComparePage() {
  const { query } = route.value;
  const ids = (query.runs ?? "").split(",").filter(Boolean).slice(0, MAX_RUNS), key = ids.join(",");
  const [table, setTable] = useState(null), [fields, setFields] = useState([]), [error, setError] = useState("");
  const [brushed, setBrushed] = useState(null);
  useEffect(() => {
    if (!ids.length) return undefined;
    const controller = new AbortController();
    const load = async () => {
      const where = `id in (${ids.map((id) => `'${id.replaceAll("'", "")}'`).join(", ")})`;
      const { fields: all } = await get("/api/fields", { where, trials: true }, controller.signal);
      const own = all.filter(({ name }) => !/^metrics\.[`"]?system\//.test(name));
      const names = [...own.filter(({ differs, kind }) => differs && kind !== "metrics"), ...own.filter(({ kind }) => kind === "metrics")].map(({ name }) => name).slice(0, 290);
      const columns = ["name", "experiment", ...names];
      setTable(await get("/api/runs", { where, trials: true, sort: "started", descending: false, limit: MAX_RUNS, columns: columns.join(",") }, controller.signal));
      setFields(names);
      setError("");
    };
    load().catch((failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [key]);
  if (!ids.length) {
    return html`<h1>Compare</h1><p class="message">No runs are chosen. <a href=${addressOf("runs")}>Select some on the page of runs</a>, by clicking rows or with the space bar, and choose Compare.</p>`;
  }
  if (error) return html`<h1>Compare</h1><p class="message error" role="alert">${error}</p>`;
  if (!table) return html`<h1>Compare</h1><p class="message">Loading</p>`;
  const names = table.ids.map((id, index) => {
    const name = table.columns.name[index];
    return !name ? id : table.columns.name.filter((other) => other === name).length > 1 ? `${name} (${id})` : name;
  });
  const shown = table.ids.map((_, index) => index).filter((index) => !brushed || brushed.has(table.ids[index]));
  const metrics = [...new Set(fields.map(metricOf).filter(Boolean))];
  const chosen = query.metrics ? splitNames(query.metrics) : metrics.filter((name) => /loss|acc|auc|score|error/i.test(name)).concat(metrics).filter((name, index, all) => all.indexOf(name) === index).slice(0, 4);
  const group = query.group && query.group in table.columns ? query.group : "";
  const groups = group ? shown.map((index) => `${fieldTitle(group)} = ${formatNumber(table.columns[group][index]) || "none"}`) : undefined;
  return html`
    <div class="page">
      <h1>Compare ${table.ids.length} runs</h1>
      ${table.ids.length < ids.length && html`<p class="message">${ids.length - table.ids.length} of the runs do not exist; they may have been deleted.</p>`}
      ${brushed && html`<p class="message">${shown.length} runs are within the ranges that are brushed below. <button type="button" onClick=${() => setBrushed(null)}>Show all</button></p>`}
      <section aria-labelledby="curves"><h2 id="curves">Curves</h2>
        <div class="tools">
          <details><summary>Metrics (${chosen.length})</summary><fieldset><legend>Metrics to draw</legend>${metrics.map((name) => html`
            <label key=${name}><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => updateQuery({ metrics: (chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name]).join(",") })} /> ${name}</label>`)}</fieldset></details>
          <label>Mean and band by <select value=${group} onChange=${(event) => updateQuery({ group: event.target.value })}>
            <option value="" selected=${!group}>no grouping</option>${["experiment", ...fields.filter((name) => !name.startsWith("metrics."))].map((name) => html`<option value=${name} selected=${name === group}>${fieldTitle(name)}</option>`)}</select></label>
        </div>
        <${CurveSettings} query=${query} metrics=${metrics} />
        <div class="charts">${chosen.map((metric) => html`<${CurveChart} key=${metric} runs=${shown.map((index) => table.ids[index])} names=${shown.map((index) => names[index])} groups=${groups} metric=${metric} query=${query} />`)}</div>
        ${!chosen.length && html`<p class="message">These runs have no metrics in common to draw. Choose others.</p>`}
      </section>
      <${Scatter} table=${table} names=${names} fields=${fields} query=${query} />
      <${Parallel} table=${table} names=${names} fields=${fields.filter((name) => !name.startsWith("tags.")).slice(0, MAX_AXES)} onBrush=${setBrushed} brushed=${brushed} />
      <${Importance} ids=${table.ids} metrics=${metrics} query=${query} />
      <${Differences} ids=${table.ids.slice(0, MAX_DIFFERENCES)} names=${names} total=${table.ids.length} />
    </div>`;
}

function Importance({ ids, metrics, query }) {
  const metric = query.target ?? ""; // computed on request, as it takes the server a second
  const [importance, setImportance] = useState(null), [error, setError] = useState("");
  const key = ids.join(",");
  useEffect(() => {
    if (!metric) return undefined;
    const controller = new AbortController();
    post("/api/importance", { runs: ids, metric }, controller.signal).then((answer) => { setImportance(answer); setError(""); }, (failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [key, metric]);
  const entries = Object.entries(importance?.fractions ?? {}).slice(0, 15);
  return html`<section aria-labelledby="importance"><h2 id="importance">Importance of hyperparameters</h2>
    <label>for ${metric && importance ? (importance.direction === "min" ? "small values of" : "large values of") : ""} <select value=${metric} onChange=${(event) => updateQuery({ target: event.target.value })}><option value="" selected=${!metric}>choose a metric</option>${metrics.map((name) => html`<option value=${name} selected=${name === metric}>${name}</option>`)}</select></label>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${metric && importance && !entries.length && html`<p class="message">${importance.runs < importance.needed
      ? `${importance.runs} of these runs have a value of this metric; importance needs ${importance.needed}.` : "No hyperparameter differs that all of these runs have."}</p>`}
    ${metric && entries.length > 0 && html`<table class="bars"><thead><tr><th scope="col">hyperparameter</th><th scope="col">fraction</th><th scope="col"><span class="hidden">bar</span></th></tr></thead>
      <tbody>${entries.map(([name, fraction]) => html`<tr key=${name}><th scope="row">${name}</th><td>${formatNumber(Number(fraction.toFixed(3)))}</td><td><svg width="200" height="12" aria-hidden="true"><rect width=${200 * fraction} height="12" class="bar" /></svg></td></tr>`)}</tbody></table>
      <p class="muted">How well each one tells the best runs from the others (PED-ANOVA, Watanabe et al. 2023).</p>`}
  </section>`;
}

function Differences({ ids, names, total }) {
  const [differences, setDifferences] = useState(null), [error, setError] = useState("");
  const key = ids.join(",");
  useEffect(() => {
    const controller = new AbortController();
    post("/api/differences", { runs: ids }, controller.signal).then((answer) => { setDifferences(answer); setError(""); }, (failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [key]);
  return html`<section aria-labelledby="differences"><h2 id="differences">What differs</h2>
    ${total > ids.length && html`<p class="message">Of the first ${ids.length} of ${total} runs.</p>`}
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${Object.entries(differences?.sections ?? {}).map(([section, rows]) => html`<h3 key=${section}>${section}</h3>
      ${Object.keys(rows).length === 0 ? html`<p class="message">The same.</p>` : html`<div class="scroll tall" tabindex="0" role="region" aria-label=${`Differences: ${section}`}><table>
        <thead><tr><th scope="col">name</th>${ids.map((id, index) => html`<th scope="col"><a href=${addressOf(`runs/${id}`)}>${names[index]}</a></th>`)}</tr></thead>
        <tbody>${Object.entries(rows).map(([name, values]) => html`<tr key=${name}><th scope="row">${name}</th>${values.map((value) => html`<td class="text">${value ?? ""}</td>`)}</tr>`)}</tbody></table></div>`}`)}
    ${ids.length === 2 && html`<p><a href=${addressOf(`runs/${ids[1]}`, { against: ids[0] })}>Difference of their sources</a></p>`}
  </section>`;
}
