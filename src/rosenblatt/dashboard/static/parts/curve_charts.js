/** Curves of some runs, a chart for each metric, with the settings of their axes; the settings are in the address. */
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { updateQuery } from "../state.js";
import { Chart } from "./chart.js";
import { styleOf } from "./colors.js";
import { describeLosses, loadCurves } from "./curve_data.js";

const html = htm.bind(h);
const POINTS = 1000;
const X_TITLES = { step: "step", elapsed: "seconds since the start", time: "time" };

/** @param {Record<string, string>} query of the address */
export function readSettings({ x = "step", logx = "", logy = "", smoothing = "0" }) {
  const isMetric = !(x in X_TITLES);
  return { x: isMetric ? "metric" : x, xMetric: isMetric ? x : "", logX: logx === "yes", logY: logy === "yes", smoothing: Math.min(0.999, Math.max(0, Number(smoothing) || 0)) };
}

/** @param {{query: Record<string, string>, metrics: string[]}} props */
export function CurveSettings({ query, metrics }) {
  const { logX, logY, smoothing } = readSettings(query), x = query.x || "step";
  return html`
    <div class="tools" role="group" aria-label="Axes and smoothing">
      <label>x <select value=${x} onChange=${(event) => updateQuery({ x: event.target.value === "step" ? "" : event.target.value })}>
        ${Object.entries(X_TITLES).map(([key, title]) => html`<option value=${key} selected=${key === x}>${title}</option>`)}
        <optgroup label="Metrics">${metrics.map((name) => html`<option value=${name} selected=${name === x}>${name}</option>`)}</optgroup></select></label>
      <label><input type="checkbox" checked=${logX} onChange=${() => updateQuery({ logx: logX ? "" : "yes" })} /> log x</label>
      <label><input type="checkbox" checked=${logY} onChange=${() => updateQuery({ logy: logY ? "" : "yes" })} /> log y</label>
      <label>smoothing <input type="number" min="0" max="0.999" step="0.05" value=${smoothing} title="Weight of the past in the debiased moving average; 0: none"
        onChange=${(event) => updateQuery({ smoothing: Number(event.target.value) ? event.target.value : "" })} /></label>
    </div>`;
}

/**
 * @param {object} props
 * @param {string[]} props.runs ids @param {string[]} props.names of the runs, for the legend
 * @param {string} props.metric
 * @param {string[]} [props.groups] the group of each run: bands are drawn instead of single curves
 * @param {Record<string, string>} props.query of the address
 * @param {number} [props.refresh] changes when runs have new points
 * @param {number} [props.height]
 */
export function CurveChart({ runs, names, metric, groups, query, refresh = 0, height }) {
  const settings = readSettings(query);
  const [data, setData] = useState(null), [error, setError] = useState(""), [range, setRange] = useState([null, null]);
  const [low, high] = range;
  const request = {
    runs, metrics: [metric], x: settings.x, x_metric: settings.xMetric, low, high, log_x: settings.logX, points: POINTS,
    smoothing: settings.smoothing, groups: groups ?? null,
  };
  const key = JSON.stringify(request), previous = useRef("");
  useEffect(() => { setRange([null, null]); }, [settings.x, settings.xMetric, settings.logX]);
  useEffect(() => {
    if (!runs.length) return undefined;
    const controller = new AbortController();
    previous.current = key;
    loadCurves(request, controller.signal).then((answer) => { setData({ ...answer, lines: makeLines(answer, runs, names, groups) }); setError(""); })
      .catch((failure) => { if (!controller.signal.aborted) setError(failure.message); });
    return () => controller.abort();
  }, [key, refresh]);
  if (error) return html`<p class="message error" role="alert">${error}</p>`;
  if (!data) return html`<div class="chart placeholder" style=${{ height: `${height ?? 260}px` }}></div>`;
  if (!data.x.length) return html`<p class="message">${metric}: no points on this axis. Choose another x.</p>`;
  return html`<${Chart} name=${metric} x=${data.x} lines=${data.lines.lines} bands=${data.lines.bands} xTitle=${settings.xMetric || X_TITLES[settings.x]}
    yTitle=${groups ? "mean ± standard deviation" : metric} logX=${settings.logX} logY=${settings.logY} isTime=${settings.x === "time"} height=${height}
    isZoomed=${low !== null} onZoom=${(from, to) => setRange([from, to])} note=${describeLosses(data, settings.logY)} />`;
}

/** The lines of a chart: a curve for each run, with the raw one behind the smooth one; or mean and band of each group. */
function makeLines(data, runs, names, groups) {
  const lines = [], bands = [];
  if (groups) {
    const order = [...new Set(groups)];
    for (const series of data.series.filter(({ kind }) => ["mean", "low", "high"].includes(kind))) {
      const style = styleOf(order.indexOf(series.group));
      const isMean = series.kind === "mean";
      lines.push({ ...style, label: isMean ? series.group : `${series.group}, ${series.kind}`, values: series.values, width: isMean ? 2 : 0, hidden: !isMean });
      if (series.kind === "high") bands.push([lines.length - 1, lines.length - 2]);
    }
    return { lines, bands };
  }
  const isSmooth = data.series.some(({ kind }) => kind === "smooth");
  for (const series of data.series) {
    const index = runs.indexOf(series.run), style = styleOf(index), isBehind = isSmooth && series.kind === "raw";
    lines.push({
      ...style, label: isBehind ? `${names[index]}, not smoothed` : names[index], values: series.values,
      alpha: isBehind ? 0.3 : 1, width: isBehind ? 1 : 1.5, hidden: isBehind,
    });
  }
  return { lines, bands };
}
