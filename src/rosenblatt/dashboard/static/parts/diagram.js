/** A network of dense layers as textbooks draw it: inputs left, outputs right, weights as lines. */
import { h } from "preact";
import htm from "htm";

const html = htm.bind(h);
const MAX_UNITS = 16; // that are drawn of a layer

/**
 * @param {object} props
 * @param {string} props.label the name for screen readers
 * @param {number[]} props.sizes units of each layer, inputs first
 * @param {number[]} [props.allSizes] the same with the units that are left out
 * @param {(layer: number, from: number, to: number) => number} props.weight of a connection into layer 1, 2, ...
 * @param {(layer: number, unit: number) => string} props.name
 * @param {{layer: number, unit: number} | null} [props.selected]
 * @param {(layer: number, unit: number) => void} [props.onSelect]
 * @param {(layer: number, unit: number) => number | undefined} [props.value] outputs of the units for a row
 */
export function Diagram({ label, sizes, allSizes = sizes, weight, name, selected, onSelect, value }) {
  const drawn = sizes.map((size) => Math.min(size, MAX_UNITS)), tallest = Math.max(...drawn);
  const step = 26, height = Math.max(80, tallest * step + 30), width = 640, left = 150, right = 490;
  const x = (layer) => left + (right - left) * layer / (sizes.length - 1);
  const y = (layer, unit) => height / 2 + (unit - (drawn[layer] - 1) / 2) * step - 8;
  const lines = [];
  for (let layer = 1; layer < sizes.length; layer++) {
    const weights = [];
    for (let from = 0; from < drawn[layer - 1]; from++) for (let to = 0; to < drawn[layer]; to++) weights.push([from, to, weight(layer, from, to)]);
    const largest = Math.max(1e-12, ...weights.map(([, , value_]) => Math.abs(value_)));
    for (const [from, to, value_] of weights) {
      const isOwn = selected && selected.layer === layer && selected.unit === to;
      lines.push(html`<line x1=${x(layer - 1)} y1=${y(layer - 1, from)} x2=${x(layer)} y2=${y(layer, to)} class=${value_ < 0 ? "negative" : "positive"}
        stroke-width=${(0.3 + 4 * Math.abs(value_) / largest).toFixed(2)} opacity=${!selected || isOwn ? 0.85 : 0.15}></line>`);
    }
  }
  const units = sizes.flatMap((size, layer) => [...Array(drawn[layer]).keys()].map((unit) => {
    const isSelected = selected && selected.layer === layer && selected.unit === unit, output = value?.(layer, unit);
    const canSelect = onSelect && layer > 0, isEnd = layer === 0 || layer === sizes.length - 1;
    const open = () => onSelect(layer, unit);
    return html`
      <g key=${`${layer} ${unit}`} role=${canSelect ? "button" : undefined} tabindex=${canSelect ? 0 : undefined} aria-pressed=${canSelect ? Boolean(isSelected) : undefined}
         aria-label=${canSelect ? `Neuron ${name(layer, unit)}` : undefined} class=${`unit${isSelected ? " selected" : ""}`}
         onClick=${canSelect && open} onKeyDown=${canSelect && ((event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); } })}>
        <circle cx=${x(layer)} cy=${y(layer, unit)} r="9"></circle>
        ${isEnd && html`<text x=${x(layer) + (layer ? 15 : -15)} y=${y(layer, unit) + 4} text-anchor=${layer ? "start" : "end"}>${name(layer, unit).slice(0, 20)}</text>`}
        ${output !== undefined && html`<title>${`${name(layer, unit)}: ${output.toPrecision(4)}`}</title>`}
      </g>`;
  }));
  return html`
    <svg class="diagram" viewBox=${`0 0 ${width} ${height}`} role=${onSelect ? "group" : "img"} aria-label=${label}>
      ${lines}${units}
      ${allSizes.map((size, layer) => size > drawn[layer] && html`<text class="note" key=${`n${layer}`} x=${x(layer)} y=${height - 4} text-anchor="middle">${drawn[layer]} of ${size.toLocaleString()}</text>`)}
    </svg>`;
}
