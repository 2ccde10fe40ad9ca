/** A plane of points of two classes on a canvas, with the surface of a network behind them. */
export const COLORS = [[230, 159, 0], [0, 114, 178]]; // orange and blue of Okabe and Ito
export const MARKS = ["○", "■"];

const surface = document.createElement("canvas");

/** The color of the theme behind the canvas. */
function background() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? [20, 24, 29] : [255, 255, 255];
}

/**
 * Draw the values of a grid, rows from the bottom, as shades of the two classes.
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} values (side * side)
 * @param {(value: number) => number} toShade from -1 (class 0) to 1 (class 1)
 */
export function drawSurface(context, values, toShade) {
  const side = Math.round(Math.sqrt(values.length)), back = background();
  surface.width = surface.height = side;
  const picture = surface.getContext("2d"), image = picture.createImageData(side, side);
  for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
    const shade = toShade(values[row * side + column]), color = COLORS[shade > 0 ? 1 : 0], strength = 0.6 * Math.min(1, Math.abs(shade));
    const start = 4 * ((side - 1 - row) * side + column);
    for (let k = 0; k < 3; k++) image.data[start + k] = back[k] + strength * (color[k] - back[k]);
    image.data[start + 3] = 255;
  }
  picture.putImageData(image, 0, 0);
  const { width, height } = context.canvas, margin = width / (side - 1) / 2; // the outer values lie on the border
  context.imageSmoothingEnabled = true;
  context.drawImage(surface, -margin, -margin, width + 2 * margin, height + 2 * margin);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number[], y: number[], classes: number[]}} points
 * @param {{low: number[], high: number[]}} box the plane that is shown
 */
export function drawPoints(context, points, box) {
  const radius = context.canvas.width / 130, edge = background().map((part) => 255 - part);
  context.lineWidth = radius / 3;
  context.strokeStyle = `rgb(${edge})`;
  for (let row = 0; row < points.x.length; row++) {
    const [x, y] = toPixels(context.canvas, box, points.x[row], points.y[row]), isSquare = points.classes[row] === 1;
    context.fillStyle = `rgb(${COLORS[points.classes[row]]})`;
    context.beginPath();
    if (isSquare) context.rect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
    else context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

/**
 * Draw where a plane over the picture is 0, given its heights at the lower left, lower right and upper left corner.
 * @param {CanvasRenderingContext2D} context
 * @param {ArrayLike<number>} corners
 */
export function drawLine(context, corners) {
  const [start, right, top] = corners, a = right - start, b = top - start, ends = [];
  if (b !== 0) for (const u of [0, 1]) if (-(start + a * u) / b >= 0 && -(start + a * u) / b <= 1) ends.push([u, -(start + a * u) / b]);
  if (a !== 0) for (const v of [0, 1]) if (-(start + b * v) / a >= 0 && -(start + b * v) / a <= 1) ends.push([-(start + b * v) / a, v]);
  if (ends.length < 2) return;
  const { width, height } = context.canvas;
  const far = ends.reduce((best, end) => Math.hypot(end[0] - ends[0][0], end[1] - ends[0][1]) > Math.hypot(best[0] - ends[0][0], best[1] - ends[0][1]) ? end : best);
  context.strokeStyle = `rgb(${background().map((part) => 255 - part)})`;
  context.lineWidth = width / 200;
  context.beginPath();
  context.moveTo(ends[0][0] * width, (1 - ends[0][1]) * height);
  context.lineTo(far[0] * width, (1 - far[1]) * height);
  context.stroke();
}

/** Draw a ring around a place. */
export function drawRing(context, box, x, y, isCross = false) {
  const [left, top] = toPixels(context.canvas, box, x, y), radius = context.canvas.width / 50;
  context.strokeStyle = `rgb(${background().map((part) => 255 - part)})`;
  context.lineWidth = radius / 5;
  context.beginPath();
  if (isCross) {
    context.moveTo(left - radius, top); context.lineTo(left + radius, top);
    context.moveTo(left, top - radius); context.lineTo(left, top + radius);
  } else context.arc(left, top, radius, 0, 2 * Math.PI);
  context.stroke();
}

function toPixels(canvas, box, x, y) {
  return [(x - box.low[0]) / (box.high[0] - box.low[0]) * canvas.width, (1 - (y - box.low[1]) / (box.high[1] - box.low[1])) * canvas.height];
}
