/** Requests with a body of JSON, and binary answers of arrays. */

/**
 * Send JSON. Throws an Error with one sentence and the status if it is refused.
 * @param {string} path
 * @param {object} body
 * @returns {Promise<Response>}
 */
async function send(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The dashboard does not answer. Start it again with: rosenblatt ui");
  }
  if (!response.ok) throw Object.assign(new Error((await response.json()).detail), { status: response.status });
  return response;
}

/** @param {string} path @param {object} body @returns {Promise<any>} */
export async function postForJson(path, body) {
  return (await send(path, body)).json();
}

/**
 * Send JSON for a binary answer: its header, and its arrays by name.
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>} the header with `arrays: Record<string, Float32Array>`
 */
export async function postForArrays(path, body) {
  const buffer = await (await send(path, body)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const arrays = {};
  for (const [name, shape] of Object.entries(header.shapes)) {
    const size = shape.reduce((product, side) => product * side, 1);
    arrays[name] = new Float32Array(buffer, offset, size);
    offset += 4 * size;
  }
  return { ...header, arrays };
}

/**
 * Let the browser save a text as a file.
 * @param {string} name
 * @param {string | Blob} content
 */
export function download(name, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "text/plain" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
