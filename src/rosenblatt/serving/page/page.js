// The page on which rows are tried by hand: a form made from the fields of a model, its prediction and explanation.
"use strict";

const element = (id) => document.getElementById(id);
const MAX_EFFECTS = 12; // columns of which effects are shown
const MAX_SELECT = 30; // categories up to which a field is a list to choose from
const MAX_OPTIONS = 200; // categories up to which they are suggested
let token = "";
let model = null;

function make(name, attributes = {}, ...children) {
  const svgNames = ["svg", "rect", "line"];
  const node = svgNames.includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

async function request(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body && JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.detail), value);
  return value;
}

const modelPath = (name) => `/v1/models/${encodeURIComponent(name)}`;

async function start() {
  try {
    const { models } = await request("/v1/models");
    element("access").hidden = true;
    element("model").replaceChildren(...models.map(({ name }) => make("option", { value: name }, name)));
    element("choice").hidden = models.length < 2;
    await showModel(models[0].name);
  } catch (error) {
    if (error.status !== 401) return void (element("about").textContent = error.message);
    element("about").textContent = token ? "The token is wrong." : "This server needs its token.";
    element("access").hidden = false;
    element("token").focus();
  }
}

async function showModel(name) {
  model = await request(modelPath(name));
  const isLanguage = model.task === "language";
  const verb = isLanguage ? "continues a text" : `predicts ${model.targets.join(", ")} (${model.task})`;
  const training = model.rows ? `, trained on ${model.rows.toLocaleString("en")} rows` : "";
  element("about").textContent = `${model.name} ${verb}${training}; version ${model.version}`;
  document.title = `Try ${model.name}`;
  element("fields").replaceChildren(...formFields());
  element("submit").textContent = isLanguage ? "Continue" : "Predict";
  element("row").hidden = false;
  element("result").hidden = true;
}

function formFields() {
  if (model.task === "language") {
    return [
      makeField({ name: "prompt", kind: "text", expected: "text to continue", example: "" }, 0),
      makeField({ name: "length", kind: "number", expected: "number of tokens", example: 100 }, 1),
      makeField({ name: "temperature", kind: "number", expected: "0 takes the most likely token", example: 0.8 }, 2),
    ];
  }
  if (model.task === "forecasting") {
    const rows = JSON.stringify([model.example], null, 1);
    const names = model.fields.map((field) => field.name).join(", ");
    return [makeField({ name: "rows", kind: "rows", expected: `the series as JSON, a row for each step: ${names}`, example: rows }, 0)];
  }
  return model.fields.map(makeField);
}

function makeField(field, index) {
  const id = `field-${index}`;
  const hint = make("p", { class: "hint", id: `${id}-hint` }, hintOf(field));
  const input = makeInput(field, { id, "aria-describedby": hint.id, "data-index": index });
  return make("div", { class: "field" }, make("label", { for: id }, field.name), input, hint);
}

function hintOf(field) {
  if (field.range) return `number, ${short(field.range[0])} to ${short(field.range[1])} in training; empty if unknown`;
  if (field.kind === "number") return field.expected.startsWith("a finite") ? "number; empty if unknown" : field.expected;
  if (field.kind === "category") return field.categories && field.categories.length <= MAX_SELECT ? "one of those in training" : "one of those in training, or another; empty if unknown";
  if (field.kind === "boolean") return `yes or no (${field.written.join(", ")} in training)`;
  if (field.kind === "date") return "date, or date and time; empty if unknown";
  if (field.kind === "image") return "an image file";
  return field.expected;
}

function makeInput(field, attributes) {
  if (field.kind === "boolean") return select([["", "unknown"], ["true", "yes"], ["false", "no"]], "true", attributes);
  if (field.kind === "category" && field.categories && field.categories.length <= MAX_OPTIONS) {
    const list = make("datalist", { id: `${attributes.id}-list` }, ...field.categories.map((value) => make("option", { value })));
    const input = make("input", { ...attributes, type: "text", value: field.example, list: list.id, autocomplete: "off" });
    if (field.categories.length > MAX_SELECT) return wrap(input, list);
    const pairs = [["", "unknown"], ...field.categories.map((value) => [value, value])];
    return select(pairs, field.example, attributes);
  }
  if (field.kind === "image") return make("input", { ...attributes, type: "file", accept: "image/*,.npy" });
  if (["text", "sequence", "rows"].includes(field.kind)) {
    const text = field.kind === "sequence" ? JSON.stringify(field.example) : field.example;
    const area = make("textarea", { ...attributes, spellcheck: "false" }, text);
    return area;
  }
  const mode = field.kind === "number" ? { inputmode: "decimal" } : {};
  return make("input", { ...attributes, ...mode, type: "text", value: field.example ?? "", autocomplete: "off" });
}

function select(pairs, selected, attributes) {
  const options = pairs.map(([value, text]) => make("option", { value, selected: value === selected }, text));
  return make("select", attributes, ...options);
}

function wrap(...nodes) {
  const fragment = document.createDocumentFragment();
  fragment.append(...nodes);
  return fragment;
}

async function cellOf(field, input) {
  if (field.kind === "image") {
    if (!input.files.length) throw Object.assign(new Error("Choose an image file."), { field: field.name });
    return await base64(input.files[0]);
  }
  const text = input.value;
  if (field.kind === "text") return text;
  if (text.trim() === "") return null;
  if (field.kind === "boolean") return text === "true";
  if (field.kind === "number") {
    const number = Number(text);
    return Number.isFinite(number) ? number : text; // the server refuses other text
  }
  if (field.kind === "sequence") return parse(field, text);
  return text;
}

function parse(field, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw Object.assign(new Error(`${field.name} must be JSON: ${error.message}`), { field: field.name });
  }
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

async function readRow() {
  const row = {};
  for (const [index, field] of model.fields.entries()) row[field.name] = await cellOf(field, element(`field-${index}`));
  return row;
}

async function submit(event) {
  event.preventDefault();
  const result = element("result");
  for (const input of element("fields").querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  element("submit").disabled = true;
  result.hidden = false;
  result.setAttribute("aria-busy", "true");
  try {
    element("answer").replaceChildren(...(await answer()));
  } catch (error) {
    element("answer").replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
    const index = model.fields.findIndex((field) => field.name === error.field);
    const input = index >= 0 && element(`field-${index}`);
    if (input) {
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  } finally {
    element("submit").disabled = false;
    result.setAttribute("aria-busy", "false");
  }
}

async function answer() {
  const path = modelPath(model.name);
  if (model.task === "language") {
    const [prompt, length, temperature] = [0, 1, 2].map((index) => element(`field-${index}`).value);
    const { text } = await request(`${path}/generate`, { prompt, length: Number(length), temperature: Number(temperature) });
    return [make("pre", {}, make("strong", {}, prompt), text)];
  }
  if (model.task === "forecasting") {
    const rows = parse({ name: "rows" }, element("field-0").value);
    const { predictions, notes } = await request(`${path}/predict`, { rows });
    return [table(model.predictions, predictions.map((row) => model.predictions.map((name) => row[name]))), ...noteNodes(notes)];
  }
  const row = await readRow();
  const { predictions, notes } = await request(`${path}/predict`, { rows: [row] });
  const nodes = predictionNodes(predictions[0]);
  nodes.push(...noteNodes(notes));
  if (model.can_explain) nodes.push(...explanationNodes(await request(`${path}/explain`, { rows: [row] })));
  return nodes;
}

function predictionNodes(prediction) {
  const targets = model.targets.filter((name) => name in prediction);
  const nodes = targets.map((name) => make("p", { class: "answer" }, `${name}: ${show(prediction[name])}`));
  const others = Object.entries(prediction).filter(([name]) => !targets.includes(name));
  others.sort((a, b) => b[1] - a[1]);
  if (others.length) {
    const largest = Math.max(...others.map(([, value]) => Math.abs(value)), 1e-12);
    const rows = others.slice(0, 20).map(([name, value]) => [name, bar(value / largest), short(value)]);
    nodes.push(table(["output", "", "value"], rows));
  }
  return nodes;
}

function noteNodes(notes) {
  return notes.map((note) => make("p", { class: "hint" }, `Note: ${note}`));
}

function explanationNodes({ output, effects, parts }) {
  const nodes = [make("h3", {}, `What mattered for the ${output}`)];
  if (effects.length) {
    const largest = Math.max(...effects.map(({ effect }) => Math.abs(effect)), 1e-12);
    const rows = effects.slice(0, MAX_EFFECTS).map(({ column, effect }) => [column, bar(effect / largest), signed(effect)]);
    nodes.push(table(["column", "", "effect"], rows));
    nodes.push(make("p", { class: "hint" }, "Effect: the output for this row, minus the output if the column had a typical value (the training median of a number, or a missing cell)."));
  }
  for (const part of parts) nodes.push(make("h3", {}, part.column), ...partNodes(part));
  return nodes;
}

function partNodes({ kind, tokens, values }) {
  const flat = values.flat();
  const largest = Math.max(...flat.map(Math.abs), 1e-12);
  if (kind === "image") return [heatMap(values, largest)];
  const names = kind === "text" ? tokens : values.map((_, index) => `step ${index + 1}`);
  const order = names.map((name, index) => [name, values[index]]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const rows = order.slice(0, MAX_EFFECTS).map(([name, value]) => [name, bar(value / largest), signed(value)]);
  return [table([kind === "text" ? "token" : "step", "", "attribution"], rows)];
}

function heatMap(values, largest) {
  const canvas = make("canvas", { width: values[0].length, height: values.length, role: "img", "aria-label": "Pixels that support the answer are blue, those that oppose it are orange." });
  const context = canvas.getContext("2d");
  values.forEach((line, y) => line.forEach((value, x) => {
    context.fillStyle = value >= 0 ? `rgba(31, 95, 174, ${value / largest})` : `rgba(200, 90, 40, ${-value / largest})`;
    context.fillRect(x, y, 1, 1);
  }));
  return canvas;
}

function table(names, rows) {
  const cell = (value) =>
    value instanceof Node ? make("td", {}, value) : make("td", typeof value === "number" ? { class: "number" } : {}, show(value));
  const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
  return make("table", {}, head, make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))));
}

function bar(share) {
  const hasSign = share < 0;
  const svg = make("svg", { viewBox: "-101 0 202 16", preserveAspectRatio: "none", "aria-hidden": "true" });
  const width = Math.abs(share) * 100;
  svg.append(make("rect", { x: hasSign ? -width : 0, y: 3, width, height: 10, class: hasSign ? "minus" : "plus" }));
  svg.append(make("line", { x1: 0, x2: 0, y1: 0, y2: 16, class: "axis" }));
  return svg;
}

const show = (value) => (value === null ? "missing" : typeof value === "number" ? short(value) : String(value));
const short = (value) => String(Number(Number(value).toPrecision(4)));
const signed = (value) => `${value >= 0 ? "+" : "\u2212"}${short(Math.abs(value))}`;

element("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  start();
});
element("model").addEventListener("change", (event) => showModel(event.target.value));
element("row").addEventListener("submit", submit);
element("row").addEventListener("reset", () => (element("result").hidden = true));
start();
