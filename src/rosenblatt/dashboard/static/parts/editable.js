/** Tags or notes of a run, edited in place. */
import { h } from "preact";
import { useState } from "preact/hooks";
import htm from "htm";
import { post } from "../api.js";

const html = htm.bind(h);

/**
 * @param {object} props
 * @param {string} props.run the id
 * @param {"tag" | "note"} props.kind
 * @param {Record<string, any>} props.values
 * @param {() => void} props.onDone called after a change
 */
export function EditableNames({ run, kind, values, onDone }) {
  const [error, setError] = useState("");
  const save = async (name, value) => {
    try {
      await post(`/api/${kind}s`, { run, name, value });
      setError("");
      onDone();
    } catch (failure) {
      setError(failure.message);
    }
  };
  const add = (event) => {
    event.preventDefault();
    const form = event.target, { name, value } = Object.fromEntries(new FormData(form));
    if (!name.trim()) return;
    save(name.trim(), value);
    form.reset();
  };
  return html`
    <div class="editable">
      ${Object.entries(values).map(([name, value]) => html`<span key=${name}><label>${name} <input value=${typeof value === "string" ? value : JSON.stringify(value)}
          readonly=${typeof value !== "string"} aria-label=${`${kind} ${name}`} onChange=${(event) => save(name, event.target.value)} /></label>
        <button type="button" aria-label=${`Remove the ${kind} ${name}`} onClick=${() => save(name, null)}>×</button></span>`)}
      <form onSubmit=${add}><input name="name" placeholder=${`new ${kind}`} aria-label=${`Name of a new ${kind}`} /> <input name="value" placeholder="text" aria-label=${`Text of the new ${kind}`} /> <button>Add ${kind}</button></form>
      ${error && html`<span role="alert" class="error">${error}</span>`}
    </div>`;
}
