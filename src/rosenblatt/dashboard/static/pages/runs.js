/** All runs: filter, sort, choose columns, group, select; stop, resume, delete, tag and compare the selected ones. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { get, post } from "../api.js";
import { addressOf, route, updateQuery } from "../state.js";
import { RunActions } from "../parts/actions.js";
import { count, metricOf, splitNames } from "../parts/format.js";
import { RunGroups } from "../parts/run_groups.js";
import { RunGrid } from "../parts/run_grid.js";
import { Views, readStored, writeStored } from "../parts/views.js";

const html = htm.bind(h);
const ATTRIBUTES = ["name", "experiment", "kind", "state", "started", "duration"];
const MAX_DEFAULT_COLUMNS = 40, MAX_SELECTED = 500, MAX_AVERAGED = 8;
const STATISTICS = ["last", "best", "min", "max"];
const COLUMNS = "columns"; // of the page, as they were chosen last

export function RunsPage() {
  const { query } = route.value;
  const { where = "", sort = "started", order = "", trials = "", group = "" } = query;
  const descending = order !== "ascending", areTrials = trials === "yes", columns = query.columns ?? readStored(COLUMNS, "");
  const [fields, setFields] = useState(null), [window_, setWindow] = useState({ total: 0, ids: [] });
  const [error, setError] = useState(""), [loaded, setLoaded] = useState(""), [refresh, setRefresh] = useState(0);
  const [selected, setSelected] = useState(new Set());
  const filterBox = useRef(null), key = JSON.stringify([where, areTrials]);

  useEffect(() => { // after the rows of a filter, which need the server more
    if (!loaded && !group) return undefined;
    const controller = new AbortController();
    const load = async () => {
      let answer;
      do {
        answer = await get("/api/fields", { where, trials: areTrials }, controller.signal);
        setFields(answer);
      } while (answer.examined < answer.total);
    };
    load().catch((failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [loaded, window_.total, Boolean(group)]);

  const differing = (fields?.fields ?? []).filter((field) => field.differs && !metricOf(field.name).startsWith("system/")).map((field) => field.name);
  const names = columns ? splitNames(columns) : [...ATTRIBUTES, ...differing.slice(0, MAX_DEFAULT_COLUMNS)];
  const reload = () => setRefresh(refresh + 1);
  function onLoad(answer, failure) {
    setError(failure);
    if (answer) {
      setWindow(answer);
      setLoaded(key);
    }
  }
  function toggle(id) {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    setSelected(next);
  }
  function chooseColumns(chosen) {
    writeStored(COLUMNS, chosen.join(","));
    updateQuery({ columns: chosen.join(",") });
  }
  async function selectAll() {
    const answer = await get("/api/runs", { where, sort, descending, trials: areTrials, limit: MAX_SELECTED, columns: "name" });
    setSelected(new Set(answer.ids));
  }
  const ids = [...selected];
  const averaged = names.filter((name) => name.startsWith("metrics.") || name === "duration").slice(0, MAX_AVERAGED);
  return html`
    <h1>Runs</h1>
    <form class="tools" onSubmit=${(event) => { event.preventDefault(); updateQuery({ where: filterBox.current.value.trim() }); }}>
      <label>Filter <input ref=${filterBox} name="where" value=${where} size="46" placeholder="params.activation = 'relu' and metrics.auc > 0.9" /></label>
      <button>Apply</button>
      <label><input type="checkbox" checked=${areTrials} onChange=${() => updateQuery({ trials: areTrials ? "" : "yes" })} /> Trials of searches</label>
      <${ColumnChoice} names=${names} fields=${fields} onChange=${chooseColumns} onReset=${() => chooseColumns([])} />
      <${GroupChoice} fields=${fields} group=${group} />
      <${Views} />
      <output>${count(group ? fields?.total ?? 0 : window_.total, "run")}${fields && fields.examined < fields.total ? `; columns of ${fields.examined.toLocaleString("en")} so far` : ""}</output>
    </form>
    ${!group && html`<div class="tools" role="group" aria-label="Selected runs">
      <span>${selected.size} selected</span>
      <button type="button" disabled=${!window_.total} onClick=${selectAll}>Select ${window_.total > MAX_SELECTED ? `the first ${MAX_SELECTED}` : "all"}</button>
      <button type="button" disabled=${!selected.size} onClick=${() => setSelected(new Set())}>Clear</button>
      <button type="button" disabled=${!selected.size} onClick=${() => { location.hash = addressOf("compare", { runs: ids.join(",") }); }}>Compare</button>
      <${RunActions} ids=${ids} onDone=${reload} onDeleted=${() => { setSelected(new Set()); reload(); }} />
      <${TagForm} ids=${ids} onDone=${reload} />
    </div>`}
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    ${loaded === key && !error && !group && window_.total === 0 && html`<p class="message">${where
      ? "No run matches the filter. Change it, or include the trials of searches."
      : "There are no runs. Start one: rosenblatt fit people.csv --target income"}</p>`}
    ${group
      ? html`<${RunGroups} where=${where} trials=${areTrials} by=${group} values=${averaged} sort=${sort} descending=${descending} onError=${setError} />`
      : html`<${RunGrid} label="Runs" where=${where} trials=${areTrials} columns=${names} sort=${sort} descending=${descending} selected=${selected} refresh=${refresh} onToggle=${toggle}
          onSort=${(column) => updateQuery({ sort: column, order: column === sort && descending ? "ascending" : "" })} onLoad=${onLoad} />`}`;
}

function ColumnChoice({ names, fields, onChange, onReset }) {
  const [search, setSearch] = useState("");
  const choices = [...ATTRIBUTES, ...(fields?.fields ?? []).flatMap(({ name, kind }) =>
    kind === "metrics" ? STATISTICS.map((statistic) => statistic === "last" ? name : `${name}.${statistic}`) : [name])];
  const toggle = (name) => onChange(names.includes(name) ? names.filter((other) => other !== name) : [...names, name]);
  return html`<details><summary>Columns (${names.length})</summary>
    <fieldset><legend>Columns to show</legend>
      <input type="search" aria-label="Search columns" placeholder="search" value=${search} onInput=${(event) => setSearch(event.target.value)} />
      ${choices.filter((name) => name.toLowerCase().includes(search.toLowerCase())).map((name) => html`
        <label key=${name}><input type="checkbox" checked=${names.includes(name)} onChange=${() => toggle(name)} /> ${name}</label>`)}
      ${fields?.hidden > 0 && html`<p>Not shown: ${fields.hidden} whose names have quotes of both kinds.</p>`}
      <button type="button" onClick=${onReset}>Those that differ</button>
    </fieldset>
  </details>`;
}

function GroupChoice({ fields, group }) {
  const chosen = splitNames(group);
  const choices = ["experiment", "kind", "state", ...(fields?.fields ?? []).filter(({ kind, differs }) => kind !== "metrics" && differs).map(({ name }) => name)];
  const toggle = (name) => updateQuery({ group: (chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name]).join(",") });
  return html`<details><summary>Group by (${chosen.length})</summary>
    <fieldset><legend>Equal values make a group</legend>
      ${[...new Set([...chosen, ...choices])].map((name) => html`<label key=${name}><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => toggle(name)} /> ${name}</label>`)}
    </fieldset>
  </details>`;
}

function TagForm({ ids, onDone }) {
  const [error, setError] = useState("");
  const save = async (event) => {
    event.preventDefault();
    const form = event.target, { name, value } = Object.fromEntries(new FormData(form));
    try {
      for (const run of ids) await post("/api/tags", { run, name: name.trim(), value: value || null });
      setError("");
      form.reset();
      onDone();
    } catch (failure) {
      setError(failure.message);
    }
  };
  return html`<form class="tools" onSubmit=${save}>
    <input name="name" required size="8" placeholder="tag" aria-label="Name of the tag" /> <input name="value" size="10" placeholder="text" aria-label="Text of the tag; empty removes it" />
    <button disabled=${!ids.length}>Tag selected</button>${error && html`<span role="alert" class="error">${error}</span>`}</form>`;
}
