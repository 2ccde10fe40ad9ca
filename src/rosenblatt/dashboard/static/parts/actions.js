/** Stop, resume and delete runs, the last one after a confirmation. */
import { h } from "preact";
import { useState } from "preact/hooks";
import htm from "htm";
import { post } from "../api.js";
import { Confirm } from "./confirm.js";
import { count } from "./format.js";

const html = htm.bind(h);

/**
 * @param {object} props
 * @param {string[]} props.ids of the runs that are meant
 * @param {boolean} [props.canStop] @param {boolean} [props.canResume]
 * @param {() => void} props.onDone called after a change
 * @param {() => void} [props.onDeleted]
 */
export function RunActions({ ids, canStop = true, canResume = true, onDone, onDeleted }) {
  const [deletion, setDeletion] = useState(null), [message, setMessage] = useState(""), [error, setError] = useState("");
  const act = (work) => async () => {
    setMessage("");
    setError("");
    try { await work(); } catch (failure) { setError(failure.message); }
  };
  const each = (path) => act(async () => {
    for (const run of ids) setMessage((await post(path, { run })).message);
    onDone();
  });
  const remove = act(async () => {
    const { runs } = await post("/api/delete", { runs: ids });
    setMessage(`Deleted ${count(runs, "run")}. rosenblatt runs tidy removes their files.`);
    (onDeleted ?? onDone)();
  });
  const question = deletion && `Delete ${count(deletion.runs, "run")}${deletion.trials ? ` with ${count(deletion.trials, "trial")}` : ""}${
    deletion.child_runs ? ` and ${count(deletion.child_runs, "child run")}` : ""}? This cannot be undone.${
    deletion.running ? ` ${count(deletion.running, "run")} of them still run; what they record from now on is lost.` : ""}`;
  return html`
    <span class="tools">
      ${canStop && html`<button type="button" disabled=${!ids.length} onClick=${each("/api/stop")}>Stop</button>`}
      ${canResume && html`<button type="button" disabled=${!ids.length} onClick=${each("/api/resume")}>Resume</button>`}
      <button type="button" disabled=${!ids.length} onClick=${act(async () => setDeletion(await post("/api/count-deletion", { runs: ids })))}>Delete…</button>
      ${message && html`<span role="status" class="muted">${message}</span>`}
      ${error && html`<span role="alert" class="error">${error}</span>`}
      ${deletion && html`<${Confirm} question=${question} action="Delete" onConfirm=${remove} onClose=${() => setDeletion(null)} />`}
    </span>`;
}
