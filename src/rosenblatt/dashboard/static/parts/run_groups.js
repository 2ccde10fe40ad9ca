/** Runs grouped by equal values, with mean and spread of metrics, and links to the runs of each group. */
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { addressOf, route, updateQuery } from "../state.js";
import { count, fieldTitle, formatCell, formatNumber, quoteText, splitNames } from "./format.js";

const html = htm.bind(h);
const REFRESH_MS = 3000;

/** @param {string} field @param {any} value @returns {string} a filter for the runs with this value */
function conditionOf(field, value) {
  if (value === null) return `${field} is null`;
  return `${field} = ${typeof value === "number" ? value : quoteText(String(value))}`;
}

/** @param {{mean: number | null, deviation: number | null}} spread */
function formatSpread({ mean, deviation }) {
  return mean === null ? "" : `${formatNumber(mean)}${deviation === null ? "" : ` ± ${Number(deviation.toPrecision(2))}`}`;
}

/**
 * @param {object} props
 * @param {string} props.where @param {boolean} props.trials
 * @param {string} props.by fields, separated by commas @param {string[]} props.values
 * @param {string} props.sort @param {boolean} props.descending
 * @param {(message: string) => void} props.onError
 */
export function RunGroups({ where, trials, by, values, sort, descending, onError }) {
  const [groups, setGroups] = useState(null);
  const sorted = values.includes(sort) ? sort : "";
  const request = { where, trials, by, values: values.join(","), sort: sorted, descending }, key = JSON.stringify(request);
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const load = async () => {
      try {
        if (!document.hidden) setGroups(await get("/api/groups", request, controller.signal));
        onError("");
      } catch (failure) {
        if (!controller.signal.aborted) onError(failure.message);
      }
      if (!controller.signal.aborted) timer = setTimeout(load, REFRESH_MS);
    };
    load();
    return () => { controller.abort(); clearTimeout(timer); };
  }, [key]);
  if (!groups) return html`<p class="message">Loading</p>`;
  const fields = splitNames(by), { query } = route.value;
  const heading = (name) => html`<th scope="col" aria-sort=${name !== sorted ? "none" : descending ? "descending" : "ascending"}>
    <button type="button" onClick=${() => updateQuery({ sort: name, order: name === sorted && descending ? "ascending" : "" })}>${fieldTitle(name)}${name !== sorted ? "" : descending ? " ↓" : " ↑"}</button></th>`;
  return html`
    <p class="message">${count(groups.n_groups, "group")} of ${count(groups.total, "run")}; mean ± standard deviation of the runs with a finite number.
      ${groups.n_groups > groups.groups.length && ` The first ${groups.groups.length} are shown; a filter shows others.`}
      ${!values.length && " Choose columns of metrics to see their means."}</p>
    <div class="scroll fill" tabindex="0" role="region" aria-label="Groups of runs"><table class="groups">
      <thead><tr>${fields.map((name) => html`<th scope="col">${fieldTitle(name)}</th>`)}<th scope="col">runs</th>${values.map(heading)}<th scope="col">show</th></tr></thead>
      <tbody>${groups.groups.map((group) => {
        const conditions = fields.map((name, index) => conditionOf(name, group.key[index])).join(" and ");
        const own = addressOf("runs", { ...query, group: "", where: where ? `(${where}) and ${conditions}` : conditions });
        return html`<tr key=${JSON.stringify(group.key)}>${group.key.map((value, index) => html`<th scope="row">${value === null ? "none" : formatCell(value, fields[index])}</th>`)}
          <td>${group.n}</td>${group.values.map((spread, index) => html`<td title=${spread.n ? `${spread.n} runs, ${formatNumber(spread.min)} to ${formatNumber(spread.max)}` : ""}>${values[index] === "duration" && spread.mean !== null ? formatCell(spread.mean, "duration") : formatSpread(spread)}</td>`)}
          <td class="text"><a href=${own}>runs</a> <a href=${addressOf("compare", { runs: group.ids.join(",") })}>compare</a></td></tr>`;
      })}</tbody></table></div>
    <p><a href=${addressOf("compare", { runs: groups.groups.flatMap(({ ids }) => ids).slice(0, 500).join(","), group: fields[0] })}>Curves with mean and band of each group</a></p>`;
}
