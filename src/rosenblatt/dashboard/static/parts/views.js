/** Views that the user saved in this browser: addresses by name. */
import { h } from "preact";
import { useState } from "preact/hooks";
import htm from "htm";

const html = htm.bind(h);
const PREFIX = "rosenblatt.";

/** @param {string} name @param {any} fallback @returns {any} what was stored; `fallback` if nothing was, or it is damaged */
export function readStored(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** @param {string} name @param {any} value */
export function writeStored(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch { /* the browser stores nothing for this page; the address still holds all */ }
}

export function Views() {
  const [views, setViews] = useState(readStored("views", {}));
  const change = (next) => { setViews(next); writeStored("views", next); };
  const names = Object.keys(views);
  const save = () => {
    const box = document.getElementById("view-name"), name = box.value.trim();
    if (!name) return;
    change({ ...views, [name]: location.hash });
    box.value = "";
  };
  const remove = (name) => { const { [name]: _, ...rest } = views; change(rest); };
  return html`<details><summary>Views (${names.length})</summary>
    <fieldset><legend>Filter, order and columns, saved in this browser</legend>
      ${names.map((name) => html`<span key=${name} class="tools"><a href=${views[name]}>${name}</a> <button type="button" aria-label=${`Remove the view ${name}`} onClick=${() => remove(name)}>×</button></span>`)}
      <span class="tools"><input id="view-name" placeholder="name" aria-label="Name of the view" onKeyDown=${(event) => { if (event.key === "Enter") { event.preventDefault(); save(); } }} /> <button type="button" onClick=${save}>Save this view</button></span>
    </fieldset></details>`;
}
