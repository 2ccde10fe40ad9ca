/** The networks of the model of a run: the diagram, a row on its way through it, one neuron, and pictures of weights. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { postForArrays, postForJson } from "../binary.js";
import { route, updateQuery } from "../state.js";
import { Diagram } from "../parts/diagram.js";
import { drawSurface } from "../parts/plane.js";

const html = htm.bind(h);
const ROOT = "/api/networks", MAX_IMAGE_BYTES = 700_000, CLASS_COLORS = [[230, 159, 0], [0, 114, 178], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66], [120, 120, 120]];
const number = (value) => value === 0 ? "0" : Number(value.toPrecision(4)).toString();

export function NetworkPage() {
  const { run = "", network = "1", unit = "" } = route.value.query;
  const [info, setInfo] = useState(null);
  const [cells, setCells] = useState({});
  const [trace, setTrace] = useState(null);
  const [detail, setDetail] = useState(null);
  const [error, setError] = useState("");
  const [rowError, setRowError] = useState("");
  const base = { run, network: Number(network) };
  const isDense = info?.drawn.length > 0, hasImage = info?.columns.some(({ kind }) => kind === "image");
  const selected = unit.includes(".") && isDense ? { layer: Number(unit.split(".")[0]), unit: info.drawn[Number(unit.split(".")[0])]?.indexOf(Number(unit.split(".")[1])) } : null;

  useEffect(() => {
    setInfo(null); setTrace(null); setDetail(null); setError("");
    if (!run) return undefined;
    const controller = new AbortController();
    get(ROOT, base, controller.signal).then((answer) => {
      setInfo(answer);
      setCells((old) => Object.keys(old).length ? old : Object.fromEntries(answer.columns.map(({ name, typical }) => [name, typical])));
    }).catch((failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [run, network]);
  useEffect(() => {
    if (!isDense) return undefined;
    let isOld = false;
    const timer = setTimeout(async () => {
      try {
        const answer = await postForJson(`${ROOT}/trace`, { ...base, cells });
        if (!isOld) { setTrace(answer); setRowError(""); }
      } catch (failure) { if (!isOld) { setTrace(null); setRowError(failure.message); } }
    }, 200);
    return () => { isOld = true; clearTimeout(timer); };
  }, [info, cells]);
  useEffect(() => {
    setDetail(null);
    if (!isDense || !unit.includes(".")) return undefined;
    let isOld = false;
    const [layer, place] = unit.split(".").map(Number);
    const timer = setTimeout(() => postForJson(`${ROOT}/unit`, { ...base, cells, layer, unit: place })
      .then((answer) => { if (!isOld) setDetail(answer); }).catch((failure) => { if (!isOld) setRowError(failure.message); }), 200);
    return () => { isOld = true; clearTimeout(timer); };
  }, [info, cells, unit]);

  if (!run) return html`<h1>Network</h1><p class="message">Choose a run: <code>#/network?run=ID</code>. <a href="#/runs?where=kind%20in%20(%27fit%27%2C%20%27search%27)">Show the runs of rosenblatt fit.</a></p>`;
  if (error) return html`<h1>Network</h1><p class="message error" role="alert">${error}</p>`;
  if (!info) return html`<h1>Network</h1><p class="message">The model is loading.</p>`;
  const name = (layer, place) => info.names[layer][place];
  return html`
    <h1>Network</h1>
    <div class="lesson network">
      <section aria-label="Row" tabindex="0">
        ${info.networks > 1 && html`<div class="control"><label>Network <select value=${network} onChange=${(event) => updateQuery({ network: event.target.value, unit: "" })}>
          ${Array.from({ length: info.networks }, (_, k) => html`<option key=${k} value=${k + 1}>${k + 1} of ${info.networks}</option>`)}</select></label>
          <small>The model averages the predictions of its networks.</small></div>`}
        <p class="hint">${info.summary}. Weights of epoch ${info.best_epoch} of ${info.n_epochs}.</p>
        <h2>Row</h2>
        <p class="hint">A typical row at first: the median of each number, a frequent category. An empty cell is missing.</p>
        ${info.columns.map((column) => html`<${CellField} key=${column.name} column=${column} value=${cells[column.name] ?? ""} onChange=${(value) => setCells({ ...cells, [column.name]: value })} onError=${setRowError} />`)}
        <button onClick=${() => setCells(Object.fromEntries(info.columns.map(({ name: column, typical }) => [column, typical])))}>Typical row</button>
        ${rowError && html`<p class="message error" role="alert">${rowError}</p>`}
        ${trace && html`<h2>Prediction</h2>${trace.messages.map((message) => html`<p class="hint">${message}</p>`)}
          <table><thead><tr><th>${info.target.join(", ")}</th><th>this network</th><th>model</th></tr></thead><tbody>
            ${Object.entries(trace.predicted).map(([label, value]) => html`<tr key=${label}><td>${label}</td><td>${number(value)}</td><td>${number(trace.model[label])}</td></tr>`)}</tbody></table>`}
      </section>
      <section aria-label="Diagram" tabindex="0">
        ${isDense ? html`
          <p class="hint">Inputs left, outputs right. Blue weights are positive, orange ones negative, wide ones large in their layer. Of large layers, the units with the largest weights are drawn. Choose a neuron.</p>
          <${Diagram} label=${`Network: ${info.summary}`} sizes=${info.drawn.map((units) => units.length)} allSizes=${info.sizes} selected=${selected} name=${name}
            weight=${(layer, from, to) => info.connections[layer - 1][from][to]} value=${(layer, place) => trace?.values[layer]?.[place]}
            onSelect=${(layer, place) => updateQuery({ unit: `${layer}.${info.drawn[layer][place]}` })} />
          <details><summary>Drawn weights as a table</summary><table><thead><tr><th>to</th><th>from</th><th>weight</th></tr></thead><tbody>
            ${info.connections.flatMap((weights, layer) => weights.flatMap((row, from) => row.map((weight, to) => html`<tr key=${`${layer} ${from} ${to}`}><td>${name(layer + 1, to)}</td><td>${name(layer, from)}</td><td>${number(weight)}</td></tr>`)))}</tbody></table></details>`
          : html`<p class="message">This network is not made of weighted sums alone, so that it is shown by its layers.</p>`}
        ${info.has_boundary && html`<${Boundary} base=${base} cells=${cells} />`}
        ${hasImage && html`<${FeatureMaps} base=${base} cells=${cells} columns=${info.columns} />`}
      </section>
      <section aria-label="Details" tabindex="0">
        <div aria-live="polite">${detail ? html`<${Neuron} unit=${detail} />` : isDense && html`<p class="message">Choose a neuron of the diagram to see its inputs, weights and activation.</p>`}</div>
        <h2>Weights by layer</h2>
        ${info.layers.filter(({ parts }) => parts.weight).map((layer) => html`<${LayerPicture} key=${`${run} ${network} ${layer.layer}`} base=${base} layer=${layer} />`)}
      </section>
    </div>`;
}

function CellField({ column, value, onChange, onError }) {
  if (column.kind === "image") {
    const read = async (event) => {
      const file = event.target.files[0];
      if (!file) return;
      if (file.size > MAX_IMAGE_BYTES) { onError(`The page takes images of up to 0.7 MB, but ${file.name} has ${(file.size / 1e6).toFixed(1)} MB. Choose a smaller one.`); return; }
      const bytes = new Uint8Array(await file.arrayBuffer());
      let text = "";
      for (const byte of bytes) text += String.fromCharCode(byte);
      onChange(btoa(text));
    };
    return html`<div class="control"><label>${column.name} <input type="file" accept="image/*" onChange=${read} /></label></div>`;
  }
  return html`<div class="control"><label>${column.name} ${column.categories.length
    ? html`<input value=${value} list=${`cells ${column.name}`.replaceAll(/\s/g, "-")} onInput=${(event) => onChange(event.target.value)} /><datalist id=${`cells ${column.name}`.replaceAll(/\s/g, "-")}>${column.categories.map((category) => html`<option key=${category} value=${category} />`)}</datalist>`
    : html`<input value=${value} onInput=${(event) => onChange(event.target.value)} />`}</label></div>`;
}

/** One neuron: what goes in, the weighted sum, and the place of the sum on the activation. */
function Neuron({ unit }) {
  const [low, high] = [Math.min(...unit.curve_output), Math.max(...unit.curve_output)], [left, right] = [unit.curve_z[0], unit.curve_z.at(-1)];
  const x = (z) => 2 + 96 * (z - left) / (right - left), y = (output) => 96 - 92 * (output - low) / (high - low || 1);
  const line = unit.curve_z.map((z, k) => `${x(z).toFixed(2)},${y(unit.curve_output[k]).toFixed(2)}`).join(" ");
  const activated = unit.curve_output.length ? unit.curve_output[unit.curve_z.reduce((best, z, k) => Math.abs(z - unit.normalized) < Math.abs(unit.curve_z[best] - unit.normalized) ? k : best, 0)] : 0;
  return html`
    <h2>Neuron ${unit.name}</h2>
    <table><thead><tr><th>input</th><th>value</th><th>weight</th><th>product</th></tr></thead><tbody>
      ${unit.contributions.map(({ input, value, weight, product }) => html`<tr key=${input}><td>${input}</td><td>${number(value)}</td><td>${number(weight)}</td><td>${number(product)}</td></tr>`)}
      ${unit.others > 0 && html`<tr><td>${unit.others.toLocaleString()} others</td><td></td><td></td><td>${number(unit.others_sum)}</td></tr>`}
      <tr><td>bias</td><td></td><td></td><td>${number(unit.bias)}</td></tr>
      <tr><td>weighted sum</td><td></td><td></td><td id="sum">${number(unit.sum)}</td></tr>
      ${unit.normalized !== unit.sum && html`<tr><td>after normalization</td><td></td><td></td><td>${number(unit.normalized)}</td></tr>`}
      <tr><td>output (${unit.activation}${unit.is_residual ? ", plus the input of the layer" : ""})</td><td></td><td></td><td id="output">${number(unit.output)}</td></tr></tbody></table>
    ${unit.curve_z.length > 0 ? html`
      <svg class="figure" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=${`Activation ${unit.activation}: the weighted sum ${number(unit.normalized)} gives ${number(activated)}`}>
        <line class="axis" x1=${x(0)} y1="0" x2=${x(0)} y2="100"></line><line class="axis" x1="0" y1=${y(0)} x2="100" y2=${y(0)}></line>
        <polyline points=${line}></polyline><ellipse class="mark" cx=${x(unit.normalized)} cy=${y(activated)} rx="1.2" ry="4"></ellipse></svg>
      <p class="hint">${unit.activation} from ${number(left)} to ${number(right)}; the mark is the current row.</p>`
      : html`<p class="hint">The activation ${unit.activation} depends on all outputs, so that it has no curve of its own.</p>`}`;
}

/** Weights as a heat map, or filters, and how they are distributed. */
function LayerPicture({ base, layer }) {
  const [picture, setPicture] = useState(null);
  const canvas = useRef(null), shape = layer.parts.weight, most = Math.max(1, ...layer.histogram);
  useEffect(() => {
    if (picture && canvas.current) {
      const [rows, columns] = picture.shapes.map.length === 4 ? [picture.shapes.map[0], 1] : picture.shapes.map;
      if (picture.shapes.map.length !== 4) paint(canvas.current, picture.arrays.map, rows, columns);
    }
  }, [picture]);
  const load = (event) => { if (event.target.open && !picture) postForArrays(`${ROOT}/weights`, { ...base, layer: layer.layer }).then(setPicture).catch((failure) => setPicture({ error: failure.message })); };
  const isFilter = picture?.shapes?.map.length === 4, [filters, depth, height, width] = isFilter ? picture.shapes.map : [0, 0, 0, 0];
  const peak = layer.histogram.indexOf(Math.max(...layer.histogram));
  return html`
    <details onToggle=${load}><summary>Layer ${layer.layer}: ${shape.join(" x ")} weights</summary>
      <svg class="figure" viewBox=${`0 0 ${layer.histogram.length} 100`} preserveAspectRatio="none" role="img" aria-label=${`Histogram of ${shape.join(" x ")} weights from ${number(layer.edges[0] ?? 0)} to ${number(layer.edges.at(-1) ?? 0)}`}>
        ${layer.histogram.map((count, k) => html`<rect key=${k} class="mark" x=${k + 0.1} width="0.8" y=${100 - 98 * count / most} height=${98 * count / most}></rect>`)}</svg>
      <p class="hint">From ${number(layer.edges[0] ?? 0)} to ${number(layer.edges.at(-1) ?? 0)}; most weights are from ${number(layer.edges[peak] ?? 0)} to ${number(layer.edges[peak + 1] ?? 0)}.</p>
      ${picture?.error && html`<p class="message error">${picture.error}</p>`}
      ${picture?.arrays && !isFilter && html`<div class="maps"><figure><canvas ref=${canvas} role="img" style=${{ width: "100%", minWidth: "120px", maxHeight: "240px" }} aria-label=${`Heat map of the weights of layer ${layer.layer}, inputs down, units across`}></canvas>
        <figcaption>Inputs down, units across: blue is positive, orange negative.${picture.shapes.map.join() !== picture.shape.join() ? ` ${picture.shape.join(" x ")} weights in ${picture.shapes.map.join(" x ")} blocks, each with its largest absolute weight.` : ""}</figcaption></figure></div>`}
      ${isFilter && html`<div class="maps">${Array.from({ length: filters }, (_, k) => html`<${Pixels} key=${k} label=${`Filter ${k + 1} of layer ${layer.layer}`} values=${picture.arrays.map.subarray(k * depth * height * width, k * depth * height * width + height * width)} rows=${height} columns=${width} size=${36} />`)}</div>
        <p class="hint">${filters} of ${picture.shape[0]} filters, their weights for the first of ${picture.shape[1]} inputs: blue is positive, orange negative.</p>`}
    </details>`;
}

function Pixels({ label, values, rows, columns, size }) {
  const canvas = useRef(null);
  useEffect(() => paint(canvas.current, values, rows, columns), [values]);
  return html`<canvas ref=${canvas} role="img" aria-label=${label} title=${label} style=${{ width: `${size}px`, height: `${size}px` }}></canvas>`;
}

/** Paint values as pixels: blue above 0, orange below. */
function paint(canvas, values, rows, columns) {
  Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-12);
  for (let place = 0; place < values.length; place++) {
    const color = CLASS_COLORS[values[place] > 0 ? 1 : 0], strength = Math.abs(values[place]) / most, back = isDark ? 24 : 255;
    for (let k = 0; k < 3; k++) image.data[4 * place + k] = back + strength * (color[k] - back);
    image.data[4 * place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The prediction over the plane of two numbers. */
function Boundary({ base, cells }) {
  const [frame, setFrame] = useState(null);
  const canvas = useRef(null);
  useEffect(() => { postForArrays(`${ROOT}/boundary`, base).then(setFrame).catch((failure) => setFrame({ error: failure.message })); }, [base.run]);
  useEffect(() => {
    if (!frame?.arrays) return;
    const context = canvas.current.getContext("2d"), values = frame.arrays.surface, side = 64;
    const isClasses = frame.middle === null && frame.classes.length > 0, low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    context.clearRect(0, 0, 400, 400);
    if (isClasses) for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
      context.fillStyle = `rgb(${CLASS_COLORS[values[row * side + column] % CLASS_COLORS.length]})`;
      context.fillRect(column * 400 / side, (side - 1 - row) * 400 / side, 7, 7);
    } else {
      const middle = frame.middle ?? (low + high) / 2, reach = Math.max(high - middle, middle - low, 1e-12);
      drawSurface(context, values, (value) => (value - middle) / reach);
    }
    const [u, v] = [0, 1].map((k) => (Number(cells[frame.names[k]]) - frame.low[k]) / (frame.high[k] - frame.low[k]));
    if (u >= 0 && u <= 1 && v >= 0 && v <= 1) {
      context.strokeStyle = matchMedia("(prefers-color-scheme: dark)").matches ? "#fff" : "#000";
      context.lineWidth = 3;
      context.beginPath(); context.arc(u * 400, (1 - v) * 400, 8, 0, 2 * Math.PI); context.stroke();
    }
  }, [frame, cells]);
  if (!frame) return null;
  if (frame.error) return html`<p class="message error">${frame.error}</p>`;
  return html`<h2>Decision boundary</h2><canvas ref=${canvas} width="400" height="400" class="plane" role="img" aria-label=${`Predictions of the model over ${frame.names.join(" and ")}`}></canvas>
    <p class="hint">Across: ${frame.names[0]}, ${number(frame.low[0])} to ${number(frame.high[0])}; upwards: ${frame.names[1]}, ${number(frame.low[1])} to ${number(frame.high[1])}. The color is the ${frame.shown} of the model, the ring the current row.</p>
    <details><summary>Predictions as a table</summary><table><thead><tr><th>${frame.names[0]}</th><th>${frame.names[1]}</th><th>${frame.shown}</th></tr></thead><tbody>
      ${[0, 21, 42, 63].flatMap((row) => [0, 21, 42, 63].map((column) => html`<tr key=${`${row} ${column}`}><td>${number(frame.low[0] + column / 63 * (frame.high[0] - frame.low[0]))}</td><td>${number(frame.low[1] + row / 63 * (frame.high[1] - frame.low[1]))}</td>
        <td>${frame.middle === null && frame.classes.length ? frame.classes[frame.arrays.surface[row * 64 + column]] : number(frame.arrays.surface[row * 64 + column])}</td></tr>`))}</tbody></table></details>`;
}

/** The feature maps of an image. */
function FeatureMaps({ base, cells, columns }) {
  const [maps, setMaps] = useState(null);
  const isReady = columns.every(({ name, kind }) => kind !== "image" || cells[name]);
  useEffect(() => {
    if (isReady) postForArrays(`${ROOT}/maps`, { ...base, cells }).then(setMaps).catch((failure) => setMaps({ error: failure.message }));
  }, [isReady, cells, base.network]);
  if (!isReady) return html`<h2>Feature maps</h2><p class="message">Choose an image of the row to see what the convolutions make of it.</p>`;
  if (!maps) return html`<p class="message">The network computes.</p>`;
  if (maps.error) return html`<p class="message error" role="alert">${maps.error}</p>`;
  return html`<h2>Feature maps</h2>${Object.entries(maps.shapes).map(([name, [channels, height, width]]) => html`
    <h3>${name.replace("layer", "Layer ")}: ${height} x ${width}${channels < maps.channels[name] ? `, ${channels} of ${maps.channels[name]} channels` : ""}</h3>
    <div class="maps">${Array.from({ length: channels }, (_, k) => html`<${Pixels} key=${k} label=${`Channel ${k + 1} of layer ${name.slice(5)}`} values=${maps.arrays[name].subarray(k * height * width, (k + 1) * height * width)} rows=${height} columns=${width} size=${64} />`)}</div>`)}
    <p class="hint">Outputs of each convolution before normalization and activation: blue is positive, orange negative.</p>`;
}
