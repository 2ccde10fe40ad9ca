/** A chart of lines or points over a shared x, with its legend, exports, and a table for screen readers. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import uPlot from "uplot";
import { frameColors, isDark } from "./colors.js";
import { downloadCsv, downloadPng, downloadSvg } from "./export.js";
import { formatNumber, formatTime } from "./format.js";

const html = htm.bind(h);

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color
 * @property {number[]} dash
 * @property {(number | null | undefined)[]} values
 * @property {number} [width] @property {number} [alpha]
 * @property {boolean} [points] points instead of a line
 * @property {boolean} [hidden] not in legend and table, such as the raw curve behind a smooth one
 */

/** @param {Line[]} lines @param {number[]} x */
function summarize(lines, x) {
  return lines.filter(({ hidden }) => !hidden).map(({ label, values }) => {
    let points = 0, low = Infinity, high = -Infinity, last = null, lastX = null;
    values.forEach((value, row) => {
      if (typeof value !== "number") return;
      points++;
      low = Math.min(low, value);
      high = Math.max(high, value);
      [last, lastX] = [value, x[row]];
    });
    return { label, points, low: points ? low : null, high: points ? high : null, last, lastX };
  });
}

/**
 * @param {object} props
 * @param {string} props.name of the chart, also of exported files
 * @param {number[]} props.x sorted
 * @param {Line[]} props.lines
 * @param {[number, number][]} [props.bands] pairs of lines, the upper one first, whose area is filled
 * @param {string} props.xTitle @param {string} props.yTitle
 * @param {boolean} [props.logX] @param {boolean} [props.logY]
 * @param {boolean} [props.isTime] whether x are seconds since 1970
 * @param {boolean} [props.isZoomed]
 * @param {(low: number | null, high: number | null) => void} [props.onZoom] called with the range that was chosen; null: all
 * @param {number} [props.height]
 * @param {string} [props.note] what is not drawn
 */
export function Chart(props) {
  const box = useRef(null), plot = useRef(null);
  const [width, setWidth] = useState(0);
  const [dark, setDark] = useState(isDark());
  const { x, lines, bands = [], logX = false, logY = false, isTime = false, height = 260 } = props;

  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(box.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)"), onChange = () => setDark(scheme.matches);
    scheme.addEventListener("change", onChange);
    return () => { observer.disconnect(); scheme.removeEventListener("change", onChange); };
  }, []);

  useEffect(() => {
    if (!width) return undefined;
    const { text, line } = frameColors();
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const positive = (values) => logY ? values.map((value) => typeof value === "number" && value <= 0 ? null : value) : values;
    plot.current = new uPlot({
      width, height,
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 }, focus: { prox: 16 } },
      focus: { alpha: 0.35 },
      scales: { x: { time: isTime, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1 } },
      axes: [axis, { ...axis, size: 68, values: (_, splits) => splits.map((split) => split === null ? "" : formatNumber(split)) }],
      series: [{}, ...lines.map((item) => ({
        label: item.label, stroke: item.color, width: item.width ?? 1.5, dash: item.dash, alpha: item.alpha ?? 1, spanGaps: false,
        paths: item.points ? () => null : undefined, points: { show: item.points ? true : x.length === 1 ? true : undefined, size: 6, fill: item.color },
      }))],
      bands: bands.map(([high, low]) => ({ series: [high + 1, low + 1], fill: lines[high].color + "33" })),
      hooks: {
        setSelect: [(u) => {
          if (u.select.width > 4) props.onZoom?.(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
        setCursor: [(u) => {
          const output = box.current?.querySelector(".readout"), row = u.cursor.idx;
          if (!output) return;
          const focused = lines.findIndex((_, index) => u.series[index + 1]._focus);
          const value = row === null || focused < 0 ? null : lines[focused].values[row];
          const at = row === null || row === undefined ? "" : isTime ? formatTime(x[row]) : formatNumber(x[row]);
          output.textContent = typeof value === "number" ? `${lines[focused].label}: ${formatNumber(value)} at ${at}` : at && `${props.xTitle} ${at}`;
        }],
      },
    }, [x, ...lines.map(({ values }) => positive(values))], box.current.querySelector(".canvas"));
    return () => plot.current.destroy();
  }, [width, dark, x, lines, logX, logY, height]);

  const shown = lines.filter(({ hidden }) => !hidden);
  const styles = lines.map(({ label, color, dash, width = 1.5, alpha = 1, points = false }) => ({ label, color, dash, width, alpha, points }));
  const table = summarize(lines, x);
  const titles = { x: props.xTitle, y: props.yTitle, name: props.name };
  return html`
    <figure class="chart" ref=${box} aria-label=${`${props.name} over ${props.xTitle}`}>
      <figcaption><strong>${props.name}</strong> <span class="muted">${props.yTitle === props.name ? "" : props.yTitle} over ${props.xTitle}</span>
        <span class="actions">
          ${props.isZoomed && html`<button type="button" onClick=${() => props.onZoom(null, null)}>Whole range</button>`}
          <button type="button" onClick=${() => downloadPng(plot.current.ctx.canvas, props.name)}>PNG</button>
          <button type="button" onClick=${() => downloadSvg(plot.current, styles, titles)}>SVG</button>
          <button type="button" onClick=${() => downloadCsv([props.xTitle, ...lines.map(({ label }) => label)], [x, ...lines.map(({ values }) => values)], props.name)}>CSV</button>
        </span>
      </figcaption>
      <div class="canvas" role="img" aria-label=${`Chart of ${props.name}; the table below has its numbers`} onDblClick=${() => props.onZoom?.(null, null)}></div>
      <div class="readout muted" aria-hidden="true"></div>
      ${props.note && html`<p class="note">${props.note}</p>`}
      <ul class="legend">${shown.slice(0, 24).map(({ label, color, dash }) => html`
        <li key=${label}><svg width="26" height="8" aria-hidden="true"><line x1="0" x2="26" y1="4" y2="4" stroke=${color} stroke-width="2" stroke-dasharray=${dash.join(" ")} /></svg> ${label}</li>`)}
        ${shown.length > 24 && html`<li>and ${shown.length - 24} more</li>`}</ul>
      <details><summary>Table of ${props.name}</summary>
        <div class="scroll"><table>
          <thead><tr><th scope="col">curve</th><th scope="col">points drawn</th><th scope="col">smallest</th><th scope="col">largest</th><th scope="col">last</th><th scope="col">at ${props.xTitle}</th></tr></thead>
          <tbody>${table.map((row) => html`<tr key=${row.label}><th scope="row">${row.label}</th><td>${row.points}</td><td>${formatNumber(row.low)}</td>
            <td>${formatNumber(row.high)}</td><td>${formatNumber(row.last)}</td><td>${isTime && row.lastX ? formatTime(row.lastX) : formatNumber(row.lastX)}</td></tr>`)}</tbody>
        </table></div>
      </details>
    </figure>`;
}
