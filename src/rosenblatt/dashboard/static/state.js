/** The state of the page, which is its address: `#/runs?where=...&sort=...`. */
import { signal } from "@preact/signals";

/** @returns {{page: string, query: Record<string, string>}} the page and its parameters */
function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { page: path, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The page that is shown and its parameters. */
export const route = signal(readAddress());

addEventListener("hashchange", () => { route.value = readAddress(); });

/**
 * The address of a page.
 * @param {string} page
 * @param {Record<string, string>} query parameters; empty ones are left out
 */
export function addressOf(page, query = {}) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#/${page}${text && "?" + text}`;
}

/**
 * Change parameters of the page that is shown, without a new entry in the history.
 * @param {Record<string, string>} changes
 */
export function updateQuery(changes) {
  const { page, query } = route.value;
  history.replaceState(null, "", addressOf(page, { ...query, ...changes }));
  route.value = readAddress();
}
