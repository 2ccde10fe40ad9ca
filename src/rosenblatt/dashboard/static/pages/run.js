/** One run: what was set, scores, curves, source, environment, output, files, and the command that repeats it. */
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { addressOf, route, updateQuery } from "../state.js";
import { RunActions } from "../parts/actions.js";
import { CurveChart, CurveSettings } from "../parts/curve_charts.js";
import { EditableNames } from "../parts/editable.js";
import { count, formatBytes, formatDuration, formatNumber, formatTime, quoteText } from "../parts/format.js";
import { RunGrid } from "../parts/run_grid.js";

const html = htm.bind(h);
const REFRESH_MS = 2000, MAX_CHARTS = 6, SYSTEM = "system/";
const PICTURE = /\.(png|jpe?g|gif|webp|svg)$/i, PREVIEW = /\.(parquet|csv|tsv|txt|log|json|md|py|toml|ya?ml)$/i;

/** @param {{id: string}} props */
export function RunPage({ id }) {
  const [run, setRun] = useState(null), [error, setError] = useState(""), [version, setVersion] = useState(0);
  const { query } = route.value;
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const load = async () => {
      try {
        const answer = await get(`/api/runs/${encodeURIComponent(id)}`, {}, controller.signal);
        setRun(answer);
        setError("");
        if (answer.state === "running") timer = setTimeout(() => { if (!document.hidden) setVersion((number) => number + 1); else load(); }, REFRESH_MS);
      } catch (failure) {
        if (!controller.signal.aborted) setError(failure.message);
      }
    };
    load();
    return () => { controller.abort(); clearTimeout(timer); };
  }, [id, version]);
  if (error) return html`<h1>Run ${id}</h1><p class="message error" role="alert">${error}</p><p><a href=${addressOf("runs")}>All runs</a></p>`;
  if (!run) return html`<h1>Run ${id}</h1><p class="message">Loading</p>`;
  const reload = () => setVersion(version + 1);
  return html`
    <div class="page">
      <h1>${run.name || run.id} <span class=${`state ${run.state}`}>${run.state}</span></h1>
      <p class="muted">${run.kind}${run.trials ? ` with ${count(run.trials, "trial")}` : ""} of experiment ${run.experiment}, run ${run.id}, started ${formatTime(run.started)}, took ${formatDuration(run.duration)}${run.reason ? `; ${run.reason}` : ""}
        ${run.kind === "search" && html`; <a href=${addressOf(`search/${id}`)}>its search</a>`}
        ${["fit", "search"].includes(run.kind) && run.state === "finished" && html`; <a href=${addressOf("network", { run: id })}>its networks</a>`}
        ${run.parent && html`; part of <a href=${addressOf(`runs/${run.parent}`)}>${run.parent}</a>`}</p>
      <${RunActions} ids=${[id]} canStop=${run.state === "running"} canResume=${Boolean(run.resume)} onDone=${reload} onDeleted=${() => { location.hash = addressOf("runs"); }} />
      ${run.unreadable.length > 0 && html`<p class="message">Not shown: ${run.unreadable.join(", ")}, in a form that this version does not know.</p>`}
      <${Repeat} run=${run} />
      <div class="columns">
        <${Scores} run=${run} />
        <${Params} params=${run.params} />
      </div>
      <${Curves} run=${run} query=${query} version=${version} />
      ${run.trials > 0 && html`<${Trials} id=${id} />`}
      <section aria-labelledby="tags"><h2 id="tags">Tags and notes</h2>
        <${EditableNames} run=${id} kind="tag" values=${run.tags} onDone=${reload} />
        <${EditableNames} run=${id} kind="note" values=${run.notes} onDone=${reload} />
      </section>
      <${Files} id=${id} artifacts=${run.artifacts} />
      <${Output} id=${id} version=${version} isRunning=${run.state === "running"} />
      <${Origin} run=${run} query=${query} />
    </div>`;
}

function Repeat({ run }) {
  const [isCopied, setCopied] = useState(false);
  const command = run.resume || run.reproduce;
  if (!command) return html`<p class="message">${run.obstacle}</p>`;
  const copy = async () => { await navigator.clipboard.writeText(command); setCopied(true); };
  return html`<p class="command"><span>${run.resume ? "Resume" : "Reproduce"}</span> <code>${command}</code>
    <button type="button" onClick=${copy}>${isCopied ? "Copied" : "Copy"}</button></p>`;
}

function Scores({ run }) {
  const names = Object.keys(run.metrics).filter((name) => !name.startsWith(SYSTEM));
  names.sort((a, b) => (b in run.baseline) - (a in run.baseline));
  return html`<section aria-labelledby="scores"><h2 id="scores">Scores</h2>
    ${!names.length && html`<p class="message">No metrics were logged.</p>`}
    ${names.length > 0 && html`<div class="scroll tall"><table>
      <thead><tr><th scope="col">metric</th><th scope="col">last</th><th scope="col">best</th><th scope="col">at step</th><th scope="col">baseline</th></tr></thead>
      <tbody>${names.map((name) => {
        const { last, best, best_step: step } = run.metrics[name];
        return html`<tr key=${name}><th scope="row">${name}</th><td>${last === null ? "NaN" : formatNumber(last)}</td><td>${formatNumber(best)}</td><td>${step ?? ""}</td><td>${formatNumber(run.baseline[name])}</td></tr>`;
      })}</tbody></table></div>`}
    ${Object.keys(run.classes).length > 0 && html`<h3>Classes</h3><div class="scroll"><table>
      <thead><tr><th scope="col">class</th><th scope="col">precision</th><th scope="col">recall</th><th scope="col">F1</th><th scope="col">rows</th></tr></thead>
      <tbody>${Object.entries(run.classes).map(([label, scores]) => html`<tr key=${label}><th scope="row">${label}</th>
        ${["precision", "recall", "f1", "rows"].map((name) => html`<td>${formatNumber(scores[name])}</td>`)}</tr>`)}</tbody></table></div>`}
    ${run.confusion && html`<h3>Confusion matrix</h3><div class="scroll"><table>
      <thead><tr><th scope="col">true class</th>${run.confusion.classes.map((label) => html`<th scope="col">predicted ${label}</th>`)}</tr></thead>
      <tbody>${run.confusion.classes.map((label, row) => html`<tr key=${label}><th scope="row">${label}</th>${run.confusion.counts[row].map((n, column) =>
        html`<td class=${row === column ? "right" : ""}>${n}</td>`)}</tr>`)}</tbody></table></div>`}
  </section>`;
}

function Params({ params }) {
  const [isAll, setAll] = useState(false);
  const names = Object.keys(params), chosen = names.filter((name) => params[name].explicit);
  const shown = isAll ? names : chosen;
  return html`<section aria-labelledby="params"><h2 id="params">Hyperparameters</h2>
    ${!names.length && html`<p class="message">None were recorded.</p>`}
    ${shown.length > 0 && html`<div class="scroll tall"><table><thead><tr><th scope="col">hyperparameter</th><th scope="col">value</th><th scope="col">origin</th></tr></thead>
      <tbody>${shown.map((name) => html`<tr key=${name}><th scope="row">${name}</th><td class="text">${params[name].value}</td><td>${params[name].explicit ? "chosen" : "default"}</td></tr>`)}</tbody></table></div>`}
    ${names.length > chosen.length && html`<button type="button" aria-pressed=${isAll} onClick=${() => setAll(!isAll)}>${isAll ? "Only chosen ones" : `And ${count(names.length - chosen.length, "default")}`}</button>`}
  </section>`;
}

function Curves({ run, query, version }) {
  const [areSystem, setSystem] = useState(false), [all, setAll] = useState(false);
  const names = Object.keys(run.metrics), own = names.filter((name) => !name.startsWith(SYSTEM) && run.metrics[name].step > 0);
  const system = names.filter((name) => name.startsWith(SYSTEM));
  if (!own.length && !system.length) return null;
  const shown = [...(all ? own : own.slice(0, MAX_CHARTS)), ...(areSystem ? system : [])];
  const refresh = run.state === "running" ? version : 0;
  return html`<section aria-labelledby="curves"><h2 id="curves">Curves</h2>
    <${CurveSettings} query=${query} metrics=${own} />
    <div class="charts">${shown.map((metric) => html`<${CurveChart} key=${metric} runs=${[run.id]} names=${[metric]} metric=${metric} query=${query} refresh=${refresh} height=${220} />`)}</div>
    <div class="tools">
      ${own.length > MAX_CHARTS && html`<button type="button" onClick=${() => setAll(!all)}>${all ? "Fewer metrics" : `All ${own.length} metrics`}</button>`}
      ${system.length > 0 && html`<button type="button" aria-pressed=${areSystem} onClick=${() => setSystem(!areSystem)}>${areSystem ? "Hide the load of the machine" : "Load of the machine"}</button>`}
    </div>
  </section>`;
}

function Trials({ id }) {
  const { query } = route.value;
  const where = `parent = ${quoteText(id)}`, { sort = "number", order = "ascending" } = query;
  const [fields, setFields] = useState([]), [selected, setSelected] = useState(new Set()), [error, setError] = useState(""), [total, setTotal] = useState(0);
  useEffect(() => {
    get("/api/fields", { where, trials: true }).then((answer) => setFields(answer.fields.filter(({ differs, name }) => differs && !name.includes(SYSTEM)).map(({ name }) => name)), (failure) => setError(failure.message));
  }, [id, total]);
  const descending = order !== "ascending";
  return html`<section aria-labelledby="trials"><h2 id="trials">Trials</h2>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    <p class="tools"><a href=${addressOf("compare", { runs: [...selected].join(",") })} aria-disabled=${!selected.size}>Compare ${count(selected.size, "selected trial")}</a>
      <a href=${addressOf("runs", { where, trials: "yes" })}>Show on the page of runs</a></p>
    <div class="box"><${RunGrid} label="Trials" where=${where} trials=${true} columns=${["name", "number", "state", ...fields.slice(0, 40)]} sort=${sort} descending=${descending} selected=${selected}
      onToggle=${(run) => { const next = new Set(selected); if (!next.delete(run)) next.add(run); setSelected(next); }}
      onSort=${(column) => updateQuery({ sort: column, order: column === sort && !descending ? "descending" : "ascending" })}
      onLoad=${(window_, failure) => { setError(failure); if (window_) setTotal(window_.total); }} /></div>
  </section>`;
}

function Files({ id, artifacts }) {
  const names = Object.keys(artifacts);
  const address = (name) => `/api/runs/${encodeURIComponent(id)}/files/${artifacts[name].hash}`;
  const pictures = names.filter((name) => PICTURE.test(name));
  return html`<section aria-labelledby="files"><h2 id="files">Files</h2>
    ${!names.length && html`<p class="message">No files were recorded.</p>`}
    <ul class="files">${names.map((name) => html`<li key=${name}><a href=${address(name)} download>${name}</a> <span class="muted">${artifacts[name].kind}, ${formatBytes(artifacts[name].bytes)}</span>
      ${PREVIEW.test(name) && html`<${Preview} address=${`${address(name)}/preview`} name=${name} />`}</li>`)}</ul>
    <div class="pictures">${pictures.map((name) => html`<figure key=${name}><img src=${address(name)} alt=${`Picture ${name} of the run`} loading="lazy" /><figcaption>${name}</figcaption></figure>`)}</div>
  </section>`;
}

function Preview({ address, name }) {
  const [preview, setPreview] = useState(null), [error, setError] = useState("");
  const load = (event) => { if (event.target.open && !preview) get(address).then(setPreview, (failure) => setError(failure.message)); };
  const columns = Object.entries(preview?.columns ?? {}), n = columns[0]?.[1].length ?? 0;
  return html`<details onToggle=${load}><summary>Show ${name}</summary>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${preview && !preview.text && !columns.length && html`<p class="message">This file has no preview. Download it.</p>`}
    ${preview?.text && html`<pre tabindex="0">${preview.text}${preview.is_cut ? "\n… (download the file for the rest)" : ""}</pre>`}
    ${columns.length > 0 && html`<p class="muted">The first ${count(n, "row")}${preview.rows === null ? "" : ` of ${preview.rows.toLocaleString("en")}`}, ${columns.length} of ${count(preview.n_columns, "column")}</p>
      <div class="scroll tall" tabindex="0" role="region" aria-label=${`Rows of ${name}`}><table><thead><tr>${columns.map(([title]) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody>${Array.from({ length: n }, (_, row) => html`<tr key=${row}>${columns.map(([, cells]) => html`<td>${cells[row] ?? ""}</td>`)}</tr>`)}</tbody></table></div>`}
  </details>`;
}

function Output({ id, version, isRunning }) {
  const [output, setOutput] = useState(null), [error, setError] = useState("");
  useEffect(() => {
    const controller = new AbortController();
    get(`/api/runs/${encodeURIComponent(id)}/output`, {}, controller.signal).then(setOutput, (failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [id, isRunning ? version : -1]);
  const shown = output?.parts.reduce((sum, [, text]) => sum + text.length, 0) ?? 0;
  return html`<section aria-labelledby="output"><h2 id="output">Output</h2>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${output && output.total > shown && html`<p class="muted">The last ${shown.toLocaleString("en")} of ${output.total.toLocaleString("en")} characters; rosenblatt runs show ${id} --output prints all.</p>`}
    ${output && (output.parts.length
      ? html`<pre class="output" tabindex="0">${output.parts.map(([stream, text]) => html`<span class=${stream}>${text}</span>`)}</pre>`
      : html`<p class="message">Nothing was recorded. rosenblatt run SCRIPT records what a script prints.</p>`)}
  </section>`;
}

function Origin({ run, query }) {
  const [difference, setDifference] = useState(null), [error, setError] = useState("");
  const other = query.against ?? "";
  useEffect(() => {
    setDifference(null);
    setError("");
    if (other) get("/api/source-difference", { first: other, second: run.id }).then(setDifference, (failure) => setError(failure.message));
  }, [other, run.id]);
  const { source } = run;
  const list = (values) => html`<dl>${Object.entries(values).map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`;
  return html`
    <section aria-labelledby="source"><h2 id="source">Source</h2>
      ${!source && html`<p class="message">This run has no source of its own.</p>`}
      ${source && html`<p>${source.root}${source.commit ? ` at commit ${source.commit.slice(0, 12)}${source.branch && ` on ${source.branch}`}, with changes to ${count(source.n_files, "file")}` : `, ${count(source.n_files, "file")}`}</p>
        ${source.n_files > 0 && html`<details><summary>Files</summary><ul>${source.files.map((name) => html`<li>${name}</li>`)}${source.n_files > source.files.length && html`<li>and ${source.n_files - source.files.length} more</li>`}</ul></details>`}
        ${Object.keys(source.skipped).length > 0 && html`<details><summary>${count(Object.keys(source.skipped).length, "skipped file")}</summary>${list(source.skipped)}</details>`}
        <form class="tools" onSubmit=${(event) => { event.preventDefault(); updateQuery({ against: new FormData(event.target).get("against").trim() }); }}>
          <label>Difference from run <input name="against" value=${other} placeholder="id of a run" /></label><button>Show</button></form>
        ${error && html`<p class="message error" role="alert">${error}</p>`}
        ${difference && (difference.text
          ? html`<pre class="difference" tabindex="0">${difference.text.split("\n").map((line) => html`<span class=${line[0] === "+" ? "added" : line[0] === "-" ? "removed" : ""}>${line + "\n"}</span>`)}${difference.is_cut && "…"}</pre>`
          : html`<p class="message">The sources are the same.</p>`)}`}
    </section>
    <section aria-labelledby="environment"><h2 id="environment">Data and environment</h2>
      ${list({ ...(run.data.length ? { data: run.data.slice(0, 50).join(", ") + (run.data.length > 50 ? ` and ${run.data.length - 50} more` : "") } : {}), ...run.facts })}
      ${run.model && html`<details><summary>Model</summary><pre tabindex="0">${run.model}</pre></details>`}
      ${Object.keys(run.packages).length > 0 && html`<details><summary>${count(Object.keys(run.packages).length, "package")}</summary>${list(run.packages)}</details>`}
      ${Object.keys(run.variables).length > 0 && html`<details><summary>${count(Object.keys(run.variables).length, "environment variable")}</summary>${list(run.variables)}</details>`}
    </section>`;
}
