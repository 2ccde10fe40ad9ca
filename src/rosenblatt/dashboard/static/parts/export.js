/** Export of charts: PNG of the canvas, SVG of the same lines, CSV of the numbers. */
import { frameColors } from "./colors.js";

const SVG = "http://www.w3.org/2000/svg";

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {HTMLCanvasElement} canvas @param {string} name */
export function downloadPng(canvas, name) {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext("2d");
  context.fillStyle = frameColors().back;
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  copy.toBlob((blob) => download(blob, `${name}.png`));
}

/** @param {string[]} names @param {any[][]} columns @param {string} name */
export function downloadCsv(names, columns, name) {
  const quote = (cell) => {
    if (typeof cell !== "string") return cell === null ? "NaN" : cell === undefined ? "" : String(cell);
    const text = /^[=+@\t\r-]/.test(cell) ? `'${cell}` : cell; // a spreadsheet would run a formula
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [names.map(quote).join(",")];
  for (let row = 0; row < (columns[0]?.length ?? 0); row++) lines.push(columns.map((column) => quote(column[row])).join(","));
  download(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }), `${name}.csv`);
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {string} [text] */
function element(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

/**
 * The chart of uPlot as SVG: its axes, and a line or points for each series.
 * @param {any} plot
 * @param {{label: string, color: string, dash: number[], width: number, alpha: number, points: boolean}[]} styles
 * @param {{x: string, y: string, name: string}} titles
 */
export function downloadSvg(plot, styles, titles) {
  const { text, line, back } = frameColors(), ratio = devicePixelRatio || 1;
  const box = { left: plot.bbox.left / ratio, top: plot.bbox.top / ratio, width: plot.bbox.width / ratio, height: plot.bbox.height / ratio };
  const legendHeight = 18 * styles.length;
  const svg = element("svg", { xmlns: SVG, width: plot.width, height: plot.height + legendHeight, "font-family": "sans-serif", "font-size": 12 });
  svg.append(element("rect", { width: "100%", height: "100%", fill: back }));
  const right = box.left + box.width, bottom = box.top + box.height;
  for (const [axis, scale] of [[plot.axes[0], "x"], [plot.axes[1], "y"]]) {
    const splits = axis._splits ?? [], values = axis._values ?? [];
    splits.forEach((split, index) => {
      const at = plot.valToPos(split, scale) + (scale === "x" ? box.left : box.top);
      svg.append(element("line", scale === "x"
        ? { x1: at, x2: at, y1: box.top, y2: bottom, stroke: line } : { x1: box.left, x2: right, y1: at, y2: at, stroke: line }));
      if (values[index]) svg.append(element("text", scale === "x"
        ? { x: at, y: bottom + 16, "text-anchor": "middle", fill: text } : { x: box.left - 6, y: at + 4, "text-anchor": "end", fill: text }, values[index]));
    });
  }
  svg.append(element("text", { x: box.left + box.width / 2, y: plot.height - 4, "text-anchor": "middle", fill: text }, titles.x));
  svg.append(element("text", { transform: `translate(12 ${box.top + box.height / 2}) rotate(-90)`, "text-anchor": "middle", fill: text }, titles.y));
  svg.append(element("clipPath", { id: "plot" }));
  svg.lastChild.append(element("rect", { x: box.left, y: box.top, width: box.width, height: box.height }));
  const lines = element("g", { "clip-path": "url(#plot)", fill: "none" });
  svg.append(lines);
  styles.forEach((style, index) => {
    const [x, y] = [plot.data[0], plot.data[index + 1]];
    let path = "", isOpen = false;
    x.forEach((value, row) => {
      if (y[row] === undefined) return;
      const at = y[row] === null ? NaN : plot.valToPos(y[row], "y") + box.top, left = plot.valToPos(value, "x") + box.left;
      if (!Number.isFinite(at) || !Number.isFinite(left)) { isOpen = false; return; }
      if (style.points) lines.append(element("circle", { cx: left.toFixed(2), cy: at.toFixed(2), r: 3, fill: style.color }));
      else path += `${isOpen ? "L" : "M"}${left.toFixed(2)} ${at.toFixed(2)}`;
      isOpen = true;
    });
    if (path) lines.append(element("path", { d: path, stroke: style.color, "stroke-width": style.width, "stroke-opacity": style.alpha, "stroke-dasharray": style.dash.join(" ") }));
    svg.append(element("line", { x1: box.left, x2: box.left + 24, y1: plot.height + 18 * index + 9, y2: plot.height + 18 * index + 9, stroke: style.color, "stroke-width": 2, "stroke-dasharray": style.dash.join(" ") }));
    svg.append(element("text", { x: box.left + 30, y: plot.height + 18 * index + 13, fill: text }, style.label));
  });
  download(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }), `${titles.name}.svg`);
}
