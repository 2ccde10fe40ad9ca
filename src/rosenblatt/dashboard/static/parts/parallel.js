/** Parallel coordinates of runs; ranges of axes are brushed with the pointer or typed. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { styleOf } from "./colors.js";
import { download } from "./export.js";
import { fieldTitle, formatNumber } from "./format.js";
import { toNumber } from "./scatter.js";

const html = htm.bind(h);
const HEIGHT = 260, TOP = 34, BOTTOM = 24, MARGIN = 60;

/** An axis: the position from 0 (below) to 1 of each value; numbers in order, texts as categories. */
function makeAxis(values) {
  const numbers = values.map(toNumber), present = values.filter((value) => value !== null);
  if (present.length && values.every((value, index) => value === null || !Number.isNaN(numbers[index]))) {
    const finite = numbers.filter(Number.isFinite), low = Math.min(...finite), high = Math.max(...finite);
    const isLog = low > 0 && high / low >= 100, scale = isLog ? Math.log : (value) => value;
    const place = (value) => high > low ? (scale(value) - scale(low)) / (scale(high) - scale(low)) : 0.5;
    return { positions: numbers.map((value) => Number.isFinite(value) ? place(value) : null), ticks: [[0, formatNumber(low)], [1, `${formatNumber(high)}${isLog ? " (log)" : ""}`]] };
  }
  const texts = [...new Set(present.map(String))].sort();
  const place = (text) => texts.length > 1 ? texts.indexOf(text) / (texts.length - 1) : 0.5;
  return { positions: values.map((value) => value === null ? null : place(String(value))), ticks: (texts.length > 6 ? [texts[0], texts[texts.length - 1]] : texts).map((text) => [place(text), text]) };
}

/** @param {{table: any, names: string[], fields: string[], brushed: Set<string> | null, onBrush: (ids: Set<string> | null) => void}} props */
export function Parallel({ table, names, fields, brushed, onBrush }) {
  const box = useRef(null), picture = useRef(null);
  const [width, setWidth] = useState(900), [ranges, setRanges] = useState({}), [drag, setDrag] = useState(null);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => { if (!brushed) setRanges({}); }, [brushed]);
  if (fields.length < 2) return html`<section ref=${box}></section>`;
  const axes = fields.map((name) => makeAxis(table.columns[name]));
  const xs = fields.map((_, index) => MARGIN + index * (width - 2 * MARGIN) / (fields.length - 1)), yOf = (position) => TOP + (1 - position) * (HEIGHT - TOP - BOTTOM);
  const positionAt = (event) => {
    const rectangle = picture.current.getBoundingClientRect();
    return Math.min(1, Math.max(0, 1 - (event.clientY - rectangle.top - TOP) / (HEIGHT - TOP - BOTTOM)));
  };
  const isInside = (run, chosen) => Object.entries(chosen).every(([axis, [low, high]]) => {
    const position = axes[axis].positions[run];
    return position !== null && position >= low - 1e-9 && position <= high + 1e-9;
  });
  function choose(axis, range) {
    const next = { ...ranges };
    if (range && range[1] - range[0] > 0.005) next[axis] = range;
    else delete next[axis];
    setRanges(next);
    onBrush(Object.keys(next).length ? new Set(table.ids.filter((_, run) => isInside(run, next))) : null);
  }
  function onUp(event) {
    if (!drag) return;
    const to = positionAt(event);
    choose(drag.axis, [Math.min(drag.from, to), Math.max(drag.from, to)]);
    setDrag(null);
  }
  const save = () => {
    const copy = picture.current.cloneNode(true), style = getComputedStyle(document.documentElement);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.querySelectorAll("text").forEach((node) => node.setAttribute("fill", style.getPropertyValue("--text").trim()));
    download(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }), "parallel-coordinates.svg");
  };
  const { color } = styleOf(0);
  return html`<section aria-labelledby="parallel" ref=${box}><h2 id="parallel">Parallel coordinates</h2>
    <p class="muted">Drag along an axis, or type percentages of its range below, to show only the runs within. <button type="button" onClick=${save}>SVG</button></p>
    <svg class="parallel" ref=${picture} width=${width} height=${HEIGHT} role="img" aria-label=${`Parallel coordinates of ${table.ids.length} runs over ${fields.map(fieldTitle).join(", ")}`}
         onPointerMove=${(event) => drag && setDrag({ ...drag, to: positionAt(event) })} onPointerUp=${onUp} onPointerLeave=${onUp}>
      ${table.ids.map((id, run) => {
        const points = axes.map(({ positions }, index) => positions[run] === null ? null : `${xs[index].toFixed(1)},${yOf(positions[run]).toFixed(1)}`).filter(Boolean);
        return html`<polyline key=${id} points=${points.join(" ")} fill="none" stroke=${color} stroke-opacity=${isInside(run, ranges) ? 0.7 : 0.07} stroke-width="1.3"><title>${names[run]}</title></polyline>`;
      })}
      ${fields.map((name, index) => {
        const range = drag?.axis === index ? [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)] : ranges[index];
        return html`<g key=${name}>
          <line x1=${xs[index]} x2=${xs[index]} y1=${TOP} y2=${HEIGHT - BOTTOM} class="axis" />
          <text x=${xs[index]} y="12" text-anchor="middle">${fieldTitle(name).slice(0, 18)}</text>
          ${axes[index].ticks.map(([position, text]) => html`<text key=${text} x=${xs[index] + 4} y=${position === 0 ? HEIGHT - BOTTOM + 14 : yOf(position) - 3} font-size="11">${text.slice(0, 14)}</text>`)}
          ${range && html`<rect x=${xs[index] - 7} width="14" y=${yOf(range[1])} height=${yOf(range[0]) - yOf(range[1])} class="brush" />`}
          <rect x=${xs[index] - 12} width="24" y=${TOP} height=${HEIGHT - TOP - BOTTOM} fill="transparent" style=${{ cursor: "ns-resize" }}
                onPointerDown=${(event) => { event.preventDefault(); setDrag({ axis: index, from: positionAt(event), to: positionAt(event) }); }} />
        </g>`;
      })}
    </svg>
    <details><summary>Ranges</summary><div class="tools">${fields.map((name, index) => {
      const [low, high] = ranges[index] ?? [0, 1];
      const set = (place) => (event) => { const next = [low, high]; next[place] = Number(event.target.value) / 100; choose(index, next[0] <= 0 && next[1] >= 1 ? null : next); };
      return html`<span key=${name}>${fieldTitle(name)} <input type="number" min="0" max="100" value=${Math.round(100 * low)} onChange=${set(0)} aria-label=${`Least percentage of ${fieldTitle(name)}`} />
        to <input type="number" min="0" max="100" value=${Math.round(100 * high)} onChange=${set(1)} aria-label=${`Largest percentage of ${fieldTitle(name)}`} /> %</span>`;
    })}</div></details>
    <details><summary>Table of runs</summary><div class="scroll tall" tabindex="0" role="region" aria-label="Runs and fields"><table>
      <thead><tr><th scope="col">run</th>${fields.map((name) => html`<th scope="col">${fieldTitle(name)}</th>`)}</tr></thead>
      <tbody>${table.ids.map((id, run) => isInside(run, ranges) && html`<tr key=${id}><th scope="row">${names[run]}</th>${fields.map((name) => html`<td>${formatNumber(table.columns[name][run])}</td>`)}</tr>`)}</tbody></table></div></details>
  </section>`;
}
