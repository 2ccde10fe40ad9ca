/** Curves from the server: a binary answer, decoded into columns that share their x. */
import { post } from "../api.js";

/**
 * @typedef {{kind: string, metric: string, run: string, group: string, shown: number, values: (number | null | undefined)[]}} Series
 * @typedef {{run: string, metric: string, total: number, in_range: number, not_finite: number, not_positive: number, without_x: number}} CurveInfo
 */

/**
 * Load curves. A value is a number, null (a gap) or undefined (the curve has no point there).
 * @param {object} request see CurvesRequest in curves.py
 * @param {AbortSignal} [signal]
 * @returns {Promise<{x: number[], thinned: boolean, curves: CurveInfo[], series: Series[]}>}
 */
export async function loadCurves(request, signal) {
  const buffer = await post("/api/curves", request, signal);
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const shown = header.series.reduce((sum, { shown }) => sum + shown, 0);
  const numbers = new Float64Array(buffer, 4 + length, header.n + shown);
  const places = new Uint32Array(buffer, 4 + length + numbers.byteLength, shown);
  let start = 0;
  for (const series of header.series) {
    series.values = new Array(header.n).fill(undefined);
    for (let i = start; i < start + series.shown; i++) {
      const value = numbers[header.n + i];
      series.values[places[i]] = Number.isNaN(value) ? null : value;
    }
    start += series.shown;
  }
  return { x: Array.from(numbers.subarray(0, header.n)), thinned: header.thinned, curves: header.curves, series: header.series };
}

/**
 * What a reader must know of points that are not drawn, as one sentence; empty if all are.
 * @param {{thinned: boolean, curves: CurveInfo[], series: Series[]}} data
 * @param {boolean} isLogY
 */
export function describeLosses(data, isLogY) {
  const sum = (name) => data.curves.reduce((total, curve) => total + curve[name], 0);
  const drawn = data.series.reduce((total, { kind, shown }) => total + (kind === "raw" ? shown : 0), 0);
  const number = (n) => n.toLocaleString("en");
  const parts = [];
  if (data.thinned) parts.push(`${number(drawn)} of ${number(sum("in_range"))} points, with the extremes of each stretch; zoom in for more`);
  if (sum("not_finite")) parts.push(`${number(sum("not_finite"))} points that are NaN or infinite are gaps`);
  if (isLogY && sum("not_positive")) parts.push(`${number(sum("not_positive"))} points of 0 or less are not on the logarithmic axis`);
  if (sum("without_x")) parts.push(`${number(sum("without_x"))} points have no place on the x axis`);
  return parts.length ? `${parts.join(". ")}.` : "";
}
