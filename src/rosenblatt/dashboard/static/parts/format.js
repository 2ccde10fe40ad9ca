/** Values as text, and names of fields. */

const NAMES = /(?:[^,`"]|`[^`]*`|"[^"]*"|[`"])+/g; // commas in quotes do not separate

/** @param {string} text names of fields, separated by commas @returns {string[]} */
export function splitNames(text) {
  return text.match(NAMES) ?? [];
}

/** @param {number} seconds */
export function formatDuration(seconds) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** @param {number} seconds since 1970 @returns {string} such as 2026-11-27 14:30:00 */
export function formatTime(seconds) {
  return new Date(seconds * 1000).toLocaleString("sv-SE");
}

/** @param {any} value a number in six digits, or text */
export function formatNumber(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : value === null || value === undefined ? "" : String(value);
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${formatNumber(Number((bytes / 1024 ** power).toPrecision(3)))} ${["bytes", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** @param {any} value @param {string} column */
export function formatCell(value, column) {
  if (value === null || value === undefined) return "";
  if (column === "started" || column === "ended") return formatTime(value);
  if (column === "duration" && typeof value === "number") return formatDuration(value);
  return formatNumber(value);
}

/** @param {string} field @returns {string} its name without group and quotes */
export function fieldTitle(field) {
  return field.replace(/^(params|metrics|tags)\./, "").replace(/^([`"])(.*)\1/, "$2");
}

/** @param {string} field such as metrics.auc.best @returns {string} the name of its metric; "" for other fields */
export function metricOf(field) {
  const match = /^metrics\.(.*?)(?:\.(?:last|best|min|max|step))?$/s.exec(field);
  return match ? match[1].replace(/^([`"])(.*)\1$/s, "$2") : "";
}

/** @param {string} group params, metrics or tags @param {string} name @returns {string} as filters name it */
export function quoteField(group, name) {
  if (/^[A-Za-z_][\w/-]*$/.test(name)) return `${group}.${name}`;
  return name.includes("`") ? `${group}."${name}"` : `${group}.\`${name}\``;
}

/** @param {string} text @returns {string} as filters quote it */
export function quoteText(text) {
  return text.includes("'") ? `"${text}"` : `'${text}'`;
}

/** @param {number} n @param {string} noun */
export function count(n, noun) {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}
