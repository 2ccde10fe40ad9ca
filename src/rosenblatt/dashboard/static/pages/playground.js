/** Training on points of the plane, step by step; the server trains with the engine of Rosenblatt. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { get } from "../api.js";
import { download, postForArrays, postForJson } from "../binary.js";
import { route, updateQuery } from "../state.js";
import { Diagram } from "../parts/diagram.js";
import { MARKS, drawLine, drawPoints, drawRing, drawSurface } from "../parts/plane.js";

const html = htm.bind(h);
const ROOT = "/api/playground";
const FRAME_MS = 1000 / 30, PANEL_MS = 160, PIXELS = 640, MAX_TABLE_BYTES = 900_000, MAX_LOSSES = 400, MAX_HELP = 170;
const PLANE = { low: [-1, -1], high: [1, 1] };
const NO_POINTS = { x: [], y: [], classes: [], ...PLANE, names: ["x", "y", "class"], labels: ["0", "1"], source: "drawn" };
const SPEEDS = { perceptron: ["1", "5", "30"], mlp: ["1", "3", "10", "30"] };

export function PlaygroundPage() {
  const { query } = route.value, kind = query.kind ?? "perceptron", setName = query.set ?? "separable";
  const [info, setInfo] = useState(null);
  const [points, setPoints] = useState(null);
  const [frame, setFrame] = useState(null);
  const [losses, setLosses] = useState([]);
  const [error, setError] = useState("");
  const [isRunning, setRunning] = useState(false);
  const [table, setTable] = useState(null);
  const [click, setClick] = useState("1");
  const [cursor, setCursor] = useState(null);
  const [saved, setSaved] = useState(null);
  const canvas = useRef(null), session = useRef(""), last = useRef(null), requests = useRef(Promise.resolve()), isOwn = useRef(false);

  const controls = (info?.controls ?? []).filter((control) => kind in control.defaults);
  const values = Object.fromEntries(controls.map((control) => [control.name, query[control.name] ?? String(control.defaults[kind])]));
  const active = controls.filter(({ requires }) => Object.entries(requires).every(([name, allowed]) => allowed.includes(name === "kind" ? kind : values[name])));
  const hyperparameters = { kind, ...Object.fromEntries(active.map(({ name }) => [name, values[name]])) };
  const key = JSON.stringify(hyperparameters);
  const speed = SPEEDS[kind].includes(query.speed) ? query.speed : SPEEDS[kind][1];

  useEffect(() => { get(ROOT, {}).then(setInfo).catch((failure) => setError(failure.message)); }, []);
  useEffect(() => {
    if (setName === "drawn" || setName === "table") return;
    get(`${ROOT}/points`, { name: setName, points: query.points ?? 200, seed: query.points_seed ?? 0 })
      .then((answer) => { isOwn.current = false; setPoints({ ...NO_POINTS, ...answer, source: setName }); }).catch((failure) => { setPoints(null); setError(failure.message); });
  }, [setName, query.points, query.points_seed]);
  useEffect(() => {
    if (setName === "drawn" && !isOwn.current) { isOwn.current = true; setPoints(NO_POINTS); }
  }, [setName]);

  /** One request at a time, in order. */
  function enqueue(action) {
    requests.current = requests.current.then(action).catch((failure) => { setRunning(false); setError(failure.message); });
    return requests.current;
  }
  async function exchange(isNew) {
    const { x, y, classes, low, high } = points, body = { points: { x, y, classes }, hyperparameters, low, high };
    if (isNew || !session.current) return postForArrays(`${ROOT}/start`, body);
    try {
      return await postForArrays(`${ROOT}/change`, { ...body, session: session.current });
    } catch (failure) {
      if (failure.status !== 404) throw failure;
      return postForArrays(`${ROOT}/start`, body); // the session was idle for too long
    }
  }
  function begin(isNew) {
    if (!points || !info) return;
    draw();
    const hasBoth = points.classes.includes(0) && points.classes.includes(1);
    if (!hasBoth) { last.current = null; setFrame(null); setRunning(false); draw(); return; }
    enqueue(async () => {
      const next = await exchange(isNew);
      if (isNew) setLosses([]);
      session.current = next.session;
      show(next, true);
      setError("");
    });
  }
  const hasStarted = useRef(null);
  useEffect(() => {
    if (!points || !info) return undefined;
    const isNew = hasStarted.current !== kind + points.source;
    hasStarted.current = kind + points.source;
    const timer = setTimeout(() => begin(isNew), 60);
    return () => clearTimeout(timer);
  }, [points, info, key]);
  useEffect(draw, [cursor]);
  useEffect(() => {
    const theme = matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", draw);
    return () => theme.removeEventListener("change", draw);
  });

  function show(next, isAll) {
    last.current = next;
    draw();
    if (isAll) {
      setFrame(next);
      setLosses((old) => {
        const point = [next.epochs, next.loss ?? 1 - next.accuracy], all = next.epochs < (old.at(-1)?.[0] ?? 0) ? [] : old;
        const grown = next.epochs === all.at(-1)?.[0] ? [...all.slice(0, -1), point] : [...all, point];
        return grown.length > MAX_LOSSES ? grown.filter((_, place) => place % 2 === 0) : grown;
      });
    }
  }
  async function step(unit, count, isAll = true) {
    if (!session.current || !last.current) return;
    await enqueue(async () => show(await postForArrays(`${ROOT}/step`, { session: session.current, unit, count }), isAll));
  }
  useEffect(() => {
    if (!isRunning) return undefined;
    let isStopped = false, panel = 0;
    const loop = async () => {
      while (!isStopped) {
        const start = performance.now(), isAll = start - panel > PANEL_MS;
        if (isAll) panel = start;
        if (!document.hidden) await (kind === "mlp" ? step("epoch", Number(speed), isAll) : step("update", 1, true));
        if (last.current?.is_finished) { setFrame(last.current); setRunning(false); return; }
        const pause = kind === "mlp" ? FRAME_MS : 1000 / Number(speed);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, pause - (performance.now() - start))));
      }
    };
    loop();
    return () => { isStopped = true; };
  }, [isRunning, kind, speed]);

  function draw() {
    if (!canvas.current || !points) return;
    const context = canvas.current.getContext("2d"), current = last.current;
    context.clearRect(0, 0, PIXELS, PIXELS);
    if (current) {
      const largest = kind === "mlp" ? 1 : current.arrays.surface.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
      drawSurface(context, current.arrays.surface, kind === "mlp" ? (p) => 2 * p - 1 : (z) => z > 0 ? 0.35 + 0.65 * z / largest : -0.35 + 0.65 * z / largest);
      if (current.arrays.corners) drawLine(context, current.arrays.corners);
    }
    drawPoints(context, points, points);
    if (current?.row != null && current.row < points.x.length) drawRing(context, points, points.x[current.row], points.y[current.row]);
    if (cursor) drawRing(context, points, ...cursor, true);
  }

  function edit(x, y, action) {
    let next;
    if (action === "remove") {
      const distances = points.x.map((other, row) => Math.hypot((other - x) / (points.high[0] - points.low[0]), (points.y[row] - y) / (points.high[1] - points.low[1])));
      const nearest = distances.indexOf(Math.min(...distances));
      if (!(distances[nearest] < 0.05)) return;
      const drop = (list) => list.filter((_, row) => row !== nearest);
      next = { ...points, x: drop(points.x), y: drop(points.y), classes: drop(points.classes) };
    } else next = { ...points, x: [...points.x, x], y: [...points.y, y], classes: [...points.classes, Number(action)] };
    isOwn.current = true;
    setPoints({ ...next, source: next.source === "table" ? "table" : "drawn" });
    if (setName !== "drawn" && setName !== "table") updateQuery({ set: "drawn" });
  }
  function onPointer(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const u = (event.clientX - box.left) / box.width, v = 1 - (event.clientY - box.top) / box.height;
    edit(points.low[0] + u * (points.high[0] - points.low[0]), points.low[1] + v * (points.high[1] - points.low[1]), click);
  }
  function onKey(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }, middle = [0, 1].map((k) => (points.low[k] + points.high[k]) / 2);
    const place = cursor ?? middle;
    if (event.key in steps) setCursor(place.map((part, k) => Math.min(points.high[k], Math.max(points.low[k], part + steps[event.key][k] * (points.high[k] - points.low[k]) / 40))));
    else if (event.key === "1" || event.key === "2") edit(...place, String(Number(event.key) - 1));
    else if (event.key === "Delete" || event.key === "Backspace") edit(...place, "remove");
    else return;
    event.preventDefault();
  }
  async function readFile(file) {
    if (!file) return;
    if (file.size > MAX_TABLE_BYTES) { setError(`The page takes tables of up to 0.9 MB, but ${file.name} has ${(file.size / 1e6).toFixed(1)} MB. Drop some of its rows, or use rosenblatt fit.`); return; }
    try {
      const answer = await postForJson(`${ROOT}/table`, { text: await file.text() });
      setTable({ ...answer, name: file.name });
      setError("");
    } catch (failure) { setError(failure.message); }
  }
  const restart = () => { setSaved(null); begin(true); };
  const isReady = frame !== null;
  const isPerceptron = kind === "perceptron";
  return html`
    <h1>Playground</h1>
    ${error && html`<p class="message error" role="alert">${error}</p>`}
    <div class="lesson" onDragOver=${(event) => event.preventDefault()} onDrop=${(event) => { event.preventDefault(); readFile(event.dataTransfer.files[0]); }}>
      <section aria-label="Settings" tabindex="0">
        <div class="control"><label>Network
          <select value=${kind} onChange=${(event) => { setRunning(false); last.current = null; setFrame(null); updateQuery({ kind: event.target.value, learning_rate: "", speed: "" }); }}>
            <option value="perceptron">perceptron</option><option value="mlp">multilayer (mlp)</option></select></label>
          <small>A perceptron draws one line; layers of neurons bend it. ${help(info, "kind")}</small></div>
        ${controls.map((control) => active.includes(control) && html`<${Control} key=${control.name} control=${control} value=${values[control.name]} kind=${kind} info=${info} />`)}
        <h2>Points</h2>
        <div class="control"><label>Set
          <select value=${setName} onChange=${(event) => { setRunning(false); setTable(null); updateQuery({ set: event.target.value }); }}>
            ${(info?.point_sets ?? []).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
            <option value="drawn">drawn by you</option>${setName === "table" && html`<option value="table">columns of a table</option>`}</select></label>
          <small>A line separates the first set; no line separates xor, circles and spirals.</small></div>
        ${setName !== "drawn" && setName !== "table" && html`
          <${NumberField} label="Number of points" name="points" value=${query.points ?? "200"} help="More points show the shape of the classes better." />
          <${NumberField} label="Seed of the points" name="points_seed" value=${query.points_seed ?? "0"} help="Another seed draws other points." />`}
        <div class="control"><label>Table <input type="file" accept=".csv,.tsv,.txt" onChange=${(event) => readFile(event.target.files[0])} /></label>
          <small>Choose a delimited table, or drop it on the page; two columns of numbers become the plane. ${link(info, "tables.md")}</small></div>
        ${table && html`<${TableForm} table=${table} onPoints=${(chosen) => { isOwn.current = true; setPoints(chosen); updateQuery({ set: "table" }); }} />`}
      </section>
      <section aria-label="Plane">
        <div class="buttons">
          <button onClick=${() => setRunning(!isRunning)} disabled=${!isReady || (frame.is_finished && !isRunning)}>${isRunning ? "Pause" : "Run"}</button>
          ${isPerceptron && !frame?.advances_by_epochs && html`
            <button disabled=${!isReady || isRunning || frame.is_finished} onClick=${() => step("row", 1)}>Next row</button>
            <button disabled=${!isReady || isRunning || frame.is_finished} onClick=${() => step("update", 1)}>Next update</button>`}
          <button disabled=${!isReady || isRunning || frame.is_finished} onClick=${() => step("epoch", 1)}>Next epoch</button>
          <button disabled=${!isReady} onClick=${restart}>Restart</button>
          <label>${isPerceptron ? "updates per second" : "epochs per frame"} <select style=${{ width: "4rem" }} value=${speed} onChange=${(event) => updateQuery({ speed: event.target.value })}>${SPEEDS[kind].map((choice) => html`<option key=${choice}>${choice}</option>`)}</select></label>
        </div>
        <canvas class="plane" ref=${canvas} width=${PIXELS} height=${PIXELS} tabindex="0" role="application" aria-describedby="plane-help"
          aria-label=${points ? `Plane with ${points.x.length} points of two classes and the decision surface` : "Plane"}
          onPointerDown=${points && onPointer} onKeyDown=${points && onKey} onBlur=${() => setCursor(null)}></canvas>
        <fieldset><legend>A click</legend>
          ${[["0", `adds ${MARKS[0]} ${points?.labels[0] ?? ""}`], ["1", `adds ${MARKS[1]} ${points?.labels[1] ?? ""}`], ["remove", "removes a point"]].map(([value, text]) => html`
            <label key=${value}><input type="radio" name="click" checked=${click === value} onChange=${() => setClick(value)} /> ${text}</label>`)}
        </fieldset>
        <p class="hint" id="plane-help">Across: ${points?.names[0]}, upwards: ${points?.names[1]}. Keys: arrows move the cross, 1 adds ${MARKS[0]}, 2 adds ${MARKS[1]}, Delete removes. The color is the prediction${isPerceptron ? ", the line is where the current weighted sum is 0, the ring is the last row" : "; paler means less certain"}.</p>
      </section>
      <section aria-label="Results" tabindex="0">
        ${frame ? html`<${Results} frame=${frame} points=${points} kind=${kind} isRunning=${isRunning} info=${info} losses=${losses} rule=${values.perceptron_rule} />`
          : html`<p class="message">${points && info ? "Add points of both classes to start." : "Loading the engine. The first time after the installation, it is compiled, which takes about a minute."}</p>`}
        ${frame && html`<h2>Train for real</h2>
          <p class="hint">The points and the settings as files, and the command that trains on them with a test.</p>
          <div class="buttons"><button onClick=${() => enqueue(async () => setSaved(await postForJson(`${ROOT}/save`, { session: session.current, names: points.names, labels: points.labels })))}>Save as files</button>
          ${saved && html`<button onClick=${() => download("playground.toml", saved.toml)}>playground.toml</button><button onClick=${() => download("points.csv", saved.csv)}>points.csv</button>`}</div>
          ${saved && html`<pre tabindex="0">${saved.command}</pre>`}`}
      </section>
    </div>`;
}

/** The description of a hyperparameter, only its first sentence if it is long, and a link to the documentation. */
function help(info, name) {
  const control = info?.controls.find((other) => other.name === name);
  const text = control?.help ?? "";
  return html`${text.length <= MAX_HELP ? text : text.split(". ")[0].replace(/\.?$/, ".")} ${link(info, "hyperparameters.md", name)}`;
}

function link(info, page, name = page) {
  return info?.documentation && html`<a href=${`${info.documentation}/${page}`} target="_blank" rel="noreferrer" aria-label=${`More on ${name} in the documentation`}>More</a>`;
}

function Control({ control, value, kind, info }) {
  const set = (event) => updateQuery({ [control.name]: event.target.value.trim() });
  const choices = control.name === "activation" ? control.choices : control.choices.filter((choice) => choice !== "auto");
  return html`
    <div class="control"><label>${control.name.replaceAll("_", " ")}
      ${choices.length ? html`<select value=${value} onChange=${set}>${choices.map((choice) => html`<option key=${choice}>${choice}</option>`)}</select>`
        : html`<input value=${value} title=${control.expected} onChange=${set} />`}</label>
      <small>${help(info, control.name)}</small></div>`;
}

function NumberField({ label, name, value, help: text }) {
  return html`<div class="control"><label>${label} <input value=${value} inputmode="numeric" onChange=${(event) => updateQuery({ [name]: event.target.value.trim() })} /></label><small>${text}</small></div>`;
}

/** Choose two columns of numbers, and the class that is drawn as a square. */
function TableForm({ table, onPoints }) {
  const numbers = Object.keys(table.numbers), targets = Object.keys(table.classes);
  const [target, setTarget] = useState(targets.at(-1) ?? "");
  const inputs = numbers.filter((name) => name !== target);
  const [x, setX] = useState(""), [y, setY] = useState(""), [label, setLabel] = useState("");
  const columns = [inputs.includes(x) ? x : inputs[0], inputs.includes(y) ? y : inputs[1]];
  const labels = [...new Set((table.classes[target] ?? []).filter((cell) => cell !== null))].sort(), positive = labels.includes(label) ? label : labels[0];
  if (inputs.length < 2 || labels.length < 2) return html`<p class="message error">The playground needs two columns of numbers and a column of 2 to 20 classes, but ${table.name} has ${inputs.length} and ${targets.length}. Choose another table.</p>`;
  function use() {
    const rows = table.classes[target].map((_, row) => row).filter((row) => table.classes[target][row] !== null && columns.every((name) => table.numbers[name][row] !== null));
    const box = columns.map((name) => rows.map((row) => table.numbers[name][row])), low = [], high = [];
    for (const k of [0, 1]) {
      const least = Math.min(...box[k]), most = Math.max(...box[k]), margin = (most - least || 1) * 0.05;
      low.push(least - margin); high.push(most + margin);
    }
    const others = labels.filter((name) => name !== positive);
    onPoints({ x: box[0], y: box[1], classes: rows.map((row) => Number(table.classes[target][row] === positive)), low, high, names: [...columns, target],
      labels: [others.length === 1 ? others[0] : `not ${positive}`, positive], source: "table" });
  }
  const missing = table.classes[target].filter((cell, row) => cell === null || columns.some((name) => table.numbers[name][row] === null)).length;
  const select = (text, value, options, set) => html`<div class="control"><label>${text} <select value=${value} onChange=${(event) => set(event.target.value)}>${options.map((name) => html`<option key=${name}>${name}</option>`)}</select></label></div>`;
  return html`
    <fieldset><legend>${table.name}</legend>
      ${select("Across", columns[0], inputs, setX)}${select("Upwards", columns[1], inputs, setY)}${select("Class", target, targets, setTarget)}${select(`Shown as ${MARKS[1]}`, positive, labels, setLabel)}
      <p class="hint">${table.rows < table.total ? `A random sample of ${table.rows.toLocaleString()} of ${table.total.toLocaleString()} rows. ` : `${table.rows.toLocaleString()} rows. `}
        ${missing > 0 ? `${missing} are left out: a cell of them is missing. ` : ""}${labels.length > 2 ? `The other ${labels.length - 1} classes are one: "not ${positive}". ` : ""}${table.unused.length > 0 ? `Neither numbers nor 2 to 20 classes: ${table.unused.join(", ")}. ` : ""}</p>
      <button onClick=${use}>Show these points</button>
    </fieldset>`;
}

function Results({ frame, points, kind, isRunning, info, losses, rule }) {
  const isPerceptron = kind === "perceptron", number = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const layers = frame.sizes.length - 1, weight = (layer, from, to) => frame.arrays[`weight${layer}`][from * frame.sizes[layer] + to];
  const name = (layer, unit) => layer === 0 ? points.names[unit] : layer === layers ? points.labels[1] : `h${layer}.${unit + 1}`;
  return html`
    <h2>${isPerceptron ? "Mistakes" : "Training"}</h2>
    <dl class="counts">
      <dt>Epochs</dt><dd>${frame.epochs}${frame.position > 0 ? ` and ${frame.position} of ${points.x.length} rows` : ""}</dd>
      ${isPerceptron && html`<dt>Mistakes</dt><dd id="mistakes">${frame.mistakes.toLocaleString()}</dd><dt>Updates</dt><dd>${frame.updates.toLocaleString()}</dd>
        <dt>Novikoff's bound</dt><dd>${frame.max_mistakes !== null ? `at most ${Math.floor(frame.max_mistakes).toLocaleString()} mistakes = (R / γ)², R = ${number(frame.radius)}, γ = ${number(frame.margin)}` : "none"}</dd>`}
      ${!isPerceptron && html`<dt>Training loss</dt><dd id="loss">${frame.loss === null ? "not trained yet" : number(frame.loss)}</dd>`}
      <dt>Accuracy</dt><dd>${(100 * frame.accuracy).toFixed(1)} % of ${points.x.length} points</dd>
    </dl>
    <p aria-live="polite" id="explanation">${!isRunning ? explain(frame, points, rule, isPerceptron) : ""}</p>
    ${frame.bound_note && html`<p class="hint">${frame.bound_note}</p>`}
    ${frame.max_mistakes !== null && html`<p class="hint">R is the largest length of a row with its constant 1, γ the distance of the nearest row to the best line through it (Novikoff 1962); both are of the standardized columns.</p>`}
    <h2>${isPerceptron ? "Fraction wrong" : "Training loss"} by epoch</h2>
    <${LossFigure} losses=${losses} />
    ${layers > 0 && frame.arrays.weight1 && html`
      <h2>Weights</h2>
      <${Diagram} label=${`Network with ${frame.sizes.join(", ")} units; blue weights are positive, orange ones negative`} sizes=${frame.sizes} weight=${weight} name=${name} />
      <details><summary>Weights as a table</summary>
        <table><thead><tr><th>to</th><th>from</th><th>weight</th></tr></thead><tbody>
          ${Array.from({ length: layers }, (_, k) => k + 1).flatMap((layer) => Array.from({ length: frame.sizes[layer] }, (_, to) => to).flatMap((to) => [
            ...Array.from({ length: frame.sizes[layer - 1] }, (_, from) => html`<tr key=${`${layer} ${to} ${from}`}><td>${name(layer, to)}</td><td>${name(layer - 1, from)}</td><td>${number(weight(layer, from, to))}</td></tr>`),
            html`<tr key=${`${layer} ${to} bias`}><td>${name(layer, to)}</td><td>bias</td><td>${number(frame.arrays[`bias${layer}`][to])}</td></tr>`]))}
        </tbody></table></details>`}
    ${info && html`<p class="hint">The engine: ${link(info, "engines.md")} The page: ${link(info, "dashboard.md")}</p>`}`;
}

/** What the last step did, in words. */
function explain(frame, points, rule, isPerceptron) {
  if (frame.failure) return frame.failure;
  if (frame.is_finished) return "An epoch passed without an update: the training has ended.";
  if (!isPerceptron || frame.row === null) return frame.reused > 0 ? `The weights were taken over: ${frame.reused} arrays of equal shape.` : "";
  const mark = MARKS[points.classes[frame.row]], predicted = MARKS[Number(frame.sum > 0)];
  const place = `(${points.x[frame.row].toPrecision(3)}, ${points.y[frame.row].toPrecision(3)})`;
  const verdict = frame.is_mistake ? "a mistake" : "correct";
  return `Row ${frame.row + 1} at ${place} is ${mark}. Its weighted sum was ${frame.sum.toPrecision(3)}, so the prediction was ${predicted}: ${verdict}. ${frame.is_update ? `The rule ${rule} updates the weights.` : "The weights stay."}`;
}

function LossFigure({ losses }) {
  const last = losses.at(-1) ?? [0, 0], most = Math.max(1e-9, ...losses.map(([, loss]) => loss)), first = losses[0]?.[0] ?? 0;
  const line = losses.map(([epoch, loss]) => `${((epoch - first) / Math.max(1, last[0] - first) * 100).toFixed(2)},${(98 - 96 * loss / most).toFixed(2)}`).join(" ");
  return html`
    <svg class="figure" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=${`Curve over ${losses.length} values, from ${(losses[0]?.[1] ?? 0).toPrecision(3)} to ${last[1].toPrecision(3)}; largest ${most.toPrecision(3)}`}>
      <line class="axis" x1="0" y1="98" x2="100" y2="98"></line><polyline points=${line}></polyline></svg>
    <div class="buttons"><span class="hint">epoch ${first} to ${last[0]}; top ${most.toPrecision(3)}, bottom 0</span>
      <button onClick=${() => download("training.csv", `epoch,value\n${losses.map((row) => row.join(",")).join("\n")}\n`)}>CSV</button></div>`;
}
