/** Requests to the server. Each throws an Error with one sentence if there is no answer. */

/**
 * @param {string} address
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The dashboard does not answer. Start it again with: rosenblatt ui");
  }
  if (!response.ok) throw new Error((await response.json()).detail);
  return response;
}

/**
 * Get JSON from the server.
 * @param {string} path
 * @param {Record<string, string | number | boolean>} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query = {}, signal) {
  const text = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)])).toString();
  return (await request(`${path}${text && "?" + text}`, { signal })).json();
}

/**
 * Post JSON to the server, and get JSON, or an ArrayBuffer.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function post(path, body, signal) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const response = await request(path, options);
  return response.headers.get("Content-Type") === "application/json" ? response.json() : response.arrayBuffer();
}
