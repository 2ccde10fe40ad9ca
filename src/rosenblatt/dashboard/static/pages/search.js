/** A search: its best score over time, where trials were stopped, the space that it has explored, and what is left. */
import { h } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { Chart } from "../parts/chart.js";
import { styleOf } from "../parts/colors.js";
import { count, formatDuration, formatNumber } from "../parts/format.js";
import { addressOf, route, updateQuery } from "../state.js";

const html = htm.bind(h);
const REFRESH_MS = 1000, MAX_LINES = 200, MAX_ROWS = 20;

/** The searches of the store, newest first. */
export function SearchesPage() {
  const [answer, setAnswer] = useState(null), [error, setError] = useState("");
  useEffect(() => {
    get("/api/runs", { where: "kind = search", limit: 100, columns: "name,experiment,state" })
      .then(setAnswer, (failure) => setError(failure.message));
  }, []);
  if (error) return html`<h1>Search</h1><p class="message error" role="alert">${error}</p>`;
  if (!answer) return html`<h1>Search</h1><p class="message">Loading</p>`;
  const { name, experiment, state } = answer.columns;
  return html`<div class="page"><h1>Search</h1>
    ${answer.total === 0
      ? html`<p class="message">There are no searches yet. Begin one: <code>rosenblatt fit TABLE --target COLUMN --trials 100</code></p>`
      : html`<p class="message">${answer.total > answer.ids.length ? `The newest ${answer.ids.length} of ${answer.total.toLocaleString("en")} searches.` : "Choose a search."}</p>
        <ul>${answer.ids.map((id, row) => html`<li><a href=${addressOf(`search/${id}`)}>${name[row] || id}</a> of experiment ${experiment[row]}, ${state[row]}</li>`)}</ul>`}
  </div>`;
}

/** @param {{id: string}} props */
export function SearchPage({ id }) {
  const { query } = route.value;
  const [search, setSearch] = useState(null), [error, setError] = useState("");
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const load = async () => {
      let isRunning = true;
      try {
        const answer = await get(`/api/searches/${encodeURIComponent(id)}`, {}, controller.signal);
        setSearch(answer);
        setError("");
        isRunning = answer.state === "running";
      } catch (failure) {
        if (controller.signal.aborted) return;
        setError(failure.message);
      }
      if (isRunning) timer = setTimeout(load, document.hidden ? 10 * REFRESH_MS : REFRESH_MS);
    };
    load();
    return () => { controller.abort(); clearTimeout(timer); };
  }, [id]);
  if (error && !search) return html`<h1>Search</h1><p class="message error" role="alert">${error}</p><p><a href=${addressOf("search")}>All searches</a></p>`;
  if (!search) return html`<h1>Search</h1><p class="message">Loading</p>`;
  return html`<div class="page">
    <h1>Search ${search.name || search.id} <span class=${`state ${search.state}`}>${search.state}</span></h1>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    <p class="muted" aria-live="polite">${describeProgress(search)} <a href=${addressOf(`runs/${id}`)}>Its run</a></p>
    <${BestOverTime} search=${search} />
    <${Rungs} search=${search} />
    <${Space} search=${search} query=${query} />
    <div class="columns"><${BestTrials} search=${search} /><${Outcome} search=${search} /></div>
  </div>`;
}

/** @param {any} search @returns {(number | null)[]} the last score of each trial */
function lastScores(search) {
  return search.scores.map((scores) => scores.at(-1) ?? null);
}

/** @param {any} search @returns {(a: number, b: number) => number} negative if a is the better score */
function comparison(search) {
  return search.is_maximized ? (a, b) => b - a : (a, b) => a - b;
}

/** @param {any} search */
function describeProgress(search) {
  const n = (state) => search.states.filter((other) => other === state).length;
  const ended = search.total - n("running");
  const parts = [`${count(search.total, "trial")}: ${n("finished")} finished, ${n("stopped")} stopped early, ${n("failed")} failed, ${n("running")} in training.`];
  if (search.total > search.numbers.length) parts.push(`The newest ${count(search.numbers.length, "trial")} are shown.`);
  const left = [];
  if (search.state === "running" && search.planned_trials !== null) {
    const trials = Math.max(search.planned_trials - ended, 0);
    left.push(count(trials, "trial"));
    if (ended >= 3) left.push(`about ${formatDuration((search.duration / ended) * trials)}`);
  }
  if (search.state === "running" && search.minutes !== null) left.push(`${formatDuration(Math.max(60 * search.minutes - search.duration, 0))} at most`);
  parts.push(left.length ? `Left: ${left.join(", ")}.` : `It took ${formatDuration(search.duration)}.`);
  return parts.join(" ");
}

/** @param {any} search @param {number} row @returns {number} when a trial had its last score; it may have waited long after */
function reachedAt(search, row) {
  const end = search.ends[row] ?? search.started + search.duration;
  return search.seconds[row] === null ? end : Math.min(end, search.starts[row] + search.seconds[row]);
}

/** @param {{search: any}} props */
function BestOverTime({ search }) {
  const chart = useMemo(() => {
    const compare = comparison(search), scores = lastScores(search), x = [], trials = [], best = [];
    const order = scores.map((_, row) => row).filter((row) => Number.isFinite(scores[row]))
      .map((row) => ({ at: reachedAt(search, row) - search.started, score: scores[row] })).sort((a, b) => a.at - b.at);
    for (const { at, score } of order) {
      const before = best.at(-1);
      if (before !== undefined && compare(score, before) < 0) { x.push(at); trials.push(undefined); best.push(before); } // a step
      x.push(at);
      trials.push(score);
      best.push(before === undefined || compare(score, before) < 0 ? score : before);
    }
    return { x, lines: [{ ...styleOf(0), label: "best so far", values: best, width: 2 }, { ...styleOf(1), label: "trials", values: trials, points: true }] };
  }, [search]);
  return html`<section aria-labelledby="best"><h2 id="best">Best score over time</h2>
    ${chart.x.length
      ? html`<${Chart} name="best score over time" x=${chart.x} lines=${chart.lines} xTitle="seconds since the start" yTitle=${search.scoring} />`
      : html`<p class="message">No trial has a score yet.</p>`}
  </section>`;
}

const STATES = ["finished", "stopped", "running", "failed"];

/** @param {{search: any}} props */
function Rungs({ search }) {
  const chart = useMemo(() => {
    const compare = comparison(search);
    const rows = search.scores.map((_, row) => row).filter((row) => search.scores[row].length)
      .sort((a, b) => search.scores[b].length - search.scores[a].length || compare(search.scores[a].at(-1), search.scores[b].at(-1)));
    const shown = rows.slice(0, MAX_LINES), n = Math.max(...shown.map((row) => search.scores[row].length), 0);
    const x = Array.from({ length: n }, (_, rung) => rung + 1), named = new Set();
    const lines = shown.map((row, rank) => {
      const state = search.states[row], isFirst = !named.has(state);
      named.add(state);
      return { ...styleOf(STATES.indexOf(state)), label: state, hidden: !isFirst, width: rank === 0 ? 3 : 1, alpha: rank === 0 ? 1 : 0.6, points: search.scores[row].length === 1,
        values: x.map((rung) => search.scores[row][rung - 1] ?? undefined) };
    });
    return { x, lines, n: rows.length, shown: shown.length };
  }, [search]);
  if (chart.x.length < 2) return null;
  const fractions = search.rungs.length ? ` Rungs are ${search.rungs.join(", ")} of a full training.` : "";
  return html`<section aria-labelledby="rungs"><h2 id="rungs">Where trials were stopped</h2>
    <p class="muted">A line for each trial: its score at each rung. Lines that end early are trials that were not among the best there.${fractions}</p>
    <${Chart} name="scores by rung" x=${chart.x} lines=${chart.lines} xTitle="rung" yTitle=${search.scoring}
      note=${chart.shown < chart.n ? `${chart.shown} of ${count(chart.n, "trial")}, those that went furthest.` : ""} />
  </section>`;
}

/** @param {{search: any, query: Record<string, string>}} props */
function Space({ search, query }) {
  const names = Object.keys(search.params).sort((a, b) => (search.importance[b] ?? 0) - (search.importance[a] ?? 0) || (a < b ? -1 : 1));
  const name = names.includes(query.param) ? query.param : names[0];
  const scores = lastScores(search), values = search.params[name] ?? [];
  const rows = values.map((value, row) => ({ value, score: scores[row] })).filter(({ value, score }) => value !== null && Number.isFinite(score));
  const isNumeric = rows.length > 0 && rows.every(({ value }) => typeof value === "number");
  const chart = useMemo(() => {
    const sorted = [...rows].sort((a, b) => a.value - b.value);
    return { x: sorted.map(({ value }) => value), lines: [{ ...styleOf(0), label: "trials", values: sorted.map(({ score }) => score), points: true }] };
  }, [search, name]);
  if (!name) return null;
  const isLog = isNumeric && chart.x[0] > 0 && chart.x.at(-1) / chart.x[0] >= 100;
  return html`<section aria-labelledby="space"><h2 id="space">Space explored</h2>
    <div class="tools"><label>Hyperparameter <select value=${name} onChange=${(event) => updateQuery({ param: event.target.value })}>
      ${names.map((other) => html`<option value=${other} selected=${other === name}>${other}</option>`)}</select></label>
      ${search.hidden_params > 0 && html`<span class="muted">${search.hidden_params} others are not listed.</span>`}</div>
    ${!rows.length ? html`<p class="message">No trial with this hyperparameter has a score yet.</p>`
      : isNumeric ? html`<${Chart} name=${`score by ${name}`} x=${chart.x} lines=${chart.lines} xTitle=${name} yTitle=${search.scoring} logX=${isLog} />`
        : html`<${Choices} rows=${rows} search=${search} name=${name} />`}
  </section>`;
}

/** @param {{rows: {value: any, score: number}[], search: any, name: string}} props a table of the scores of each choice */
function Choices({ rows, search, name }) {
  const compare = comparison(search), byValue = new Map();
  for (const { value, score } of rows) byValue.set(String(value), [...(byValue.get(String(value)) ?? []), score]);
  const lines = [...byValue].map(([value, scores]) => ({ value, scores: scores.sort(compare) })).sort((a, b) => compare(a.scores[0], b.scores[0]));
  return html`<table><thead><tr><th scope="col">${name}</th><th scope="col" class="number">trials</th><th scope="col" class="number">best</th><th scope="col" class="number">median</th></tr></thead>
    <tbody>${lines.map(({ value, scores }) => html`<tr><td>${value}</td><td class="number">${scores.length}</td><td class="number">${formatNumber(scores[0])}</td>
      <td class="number">${formatNumber(scores[Math.floor(scores.length / 2)])}</td></tr>`)}</tbody></table>`;
}

/** @param {{search: any}} props */
function BestTrials({ search }) {
  const compare = comparison(search), scores = lastScores(search);
  const rows = scores.map((_, row) => row).filter((row) => search.states[row] !== "stopped" && Number.isFinite(scores[row]))
    .sort((a, b) => compare(scores[a], scores[b])).slice(0, MAX_ROWS);
  if (!rows.length) return null;
  return html`<section aria-labelledby="trials"><h2 id="trials">Best trials that went on to the end</h2>
    <table><thead><tr><th scope="col">trial</th><th scope="col">state</th><th scope="col" class="number">${search.scoring}</th><th scope="col" class="number">epochs</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr><td><a href=${addressOf(`runs/${search.ids[row]}`)}>${search.numbers[row]}</a></td><td>${search.states[row]}</td>
      <td class="number">${formatNumber(scores[row])}</td><td class="number">${search.epochs[row] ?? ""}</td></tr>`)}</tbody></table></section>`;
}

/** @param {{search: any}} props the ensemble and the importance of hyperparameters, once the search has ended */
function Outcome({ search }) {
  const importance = Object.entries(search.importance).sort((a, b) => b[1] - a[1]).slice(0, MAX_ROWS);
  if (!search.ensemble.length && !importance.length) return null;
  return html`<section aria-labelledby="outcome"><h2 id="outcome">Outcome</h2>
    ${search.ensemble.length > 0 && html`<table><caption>Trials in the model</caption><thead><tr><th scope="col">trial</th><th scope="col" class="number">weight</th></tr></thead>
      <tbody>${search.ensemble.map(({ trial, weight }) => html`<tr><td><a href=${addressOf(`runs/${search.id}-${trial}`)}>${trial}</a></td><td class="number">${formatNumber(weight)}</td></tr>`)}</tbody></table>`}
    ${importance.length > 0 && html`<table><caption>Importance of hyperparameters</caption><thead><tr><th scope="col">hyperparameter</th><th scope="col" class="number">share</th></tr></thead>
      <tbody>${importance.map(([name, share]) => html`<tr><td>${name}</td><td class="number">${(100 * share).toFixed(1)}%</td></tr>`)}</tbody></table>`}
  </section>`;
}
