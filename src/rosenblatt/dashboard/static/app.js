/** The frame of all pages and the router. A page is a module of pages/ and a line in PAGES. */
import { h, render } from "preact";
import htm from "htm";
import { addressOf, route } from "./state.js";
import { ComparePage } from "./pages/compare.js";
import { RunPage } from "./pages/run.js";
import { RunsPage } from "./pages/runs.js";
import { SearchesPage, SearchPage } from "./pages/search.js";
import { NetworkPage } from "./pages/network.js";
import { PlaygroundPage } from "./pages/playground.js";

const html = htm.bind(h);

/** @type {Record<string, {title: string, component: any, item?: any}>} pages by the first part of their address; `item` is the page of one */
const PAGES = {
  runs: { title: "Runs", component: RunsPage, item: RunPage },
  compare: { title: "Compare", component: ComparePage },
  search: { title: "Search", component: SearchesPage, item: SearchPage },
  network: { title: "Network", component: NetworkPage },
  playground: { title: "Playground", component: PlaygroundPage },
};

function App() {
  const { page } = route.value;
  const [name, id = ""] = (page || "runs").split("/");
  const entry = PAGES[name], component = id ? entry?.item : entry?.component;
  document.title = `${component ? entry.title : "Not available"}${id && ` ${id}`} - Rosenblatt`;
  return html`
    <header>
      <strong>Rosenblatt</strong>
      <nav aria-label="Pages">
        ${Object.entries(PAGES).map(([key, { title }]) => html`
          <a href=${addressOf(key)} aria-current=${key === name ? "page" : undefined}>${title}</a>`)}
      </nav>
    </header>
    <main>${component
      ? html`<${component} id=${id} key=${page} />`
      : html`<p class="message">There is no page of this name. <a href=${addressOf("runs")}>Show the runs.</a></p>`}
    </main>`;
}

render(html`<${App} />`, document.body);
