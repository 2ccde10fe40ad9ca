/** Requests to the server. */

/**
 * Get JSON from the server. Throws an Error with one sentence if there is none.
 * @param {string} path
 * @param {Record<string, string | number | boolean>} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query, signal) {
  let response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)]))}`, { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The dashboard does not answer. Start it again with: rosenblatt ui");
  }
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}
