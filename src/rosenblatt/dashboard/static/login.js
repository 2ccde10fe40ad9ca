/** The page to sign in: with a token that is typed, or that the link from the terminal has after its #. */

const LINK = "#token=";

/**
 * Sign in, and open the page; or say why not.
 * @param {string} token
 */
async function signIn(token) {
  const error = /** @type {HTMLElement} */ (document.getElementById("error"));
  error.textContent = "";
  try {
    const body = JSON.stringify({ token });
    const response = await fetch("/api/session", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (response.ok) location.replace("/");
    else error.textContent = (await response.json()).detail;
  } catch {
    error.textContent = "The dashboard does not answer. Start it again with: rosenblatt ui";
  }
}

/** @type {HTMLFormElement} */ (document.getElementById("login")).addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(/** @type {HTMLInputElement} */ (document.getElementById("token")).value);
});
if (location.hash.startsWith(LINK)) {
  const token = decodeURIComponent(location.hash.slice(LINK.length));
  history.replaceState(null, "", "/"); // the token stays out of the history
  signIn(token);
}
