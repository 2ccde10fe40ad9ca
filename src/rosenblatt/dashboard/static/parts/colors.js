/** Colors that color-blind readers can tell apart (Okabe & Ito 2008), with dashes once they repeat. */

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07c00", "#3a8fc2", "#1b1f24", "#8c6bb1"];
const DARK = ["#56b4e9", "#e69f00", "#00c291", "#e39bc4", "#f0e442", "#ff8a4c", "#e6e9ec", "#b79ae0"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** @returns {boolean} whether the page is dark */
export function isDark() {
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** @param {number} index @returns {{color: string, dash: number[]}} */
export function styleOf(index) {
  const colors = isDark() ? DARK : LIGHT;
  return { color: colors[index % colors.length], dash: DASHES[Math.floor(index / colors.length) % DASHES.length] };
}

/** @returns {{text: string, line: string, back: string}} colors of axes, grid and background */
export function frameColors() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { text: read("--text"), line: read("--line"), back: read("--back") };
}
