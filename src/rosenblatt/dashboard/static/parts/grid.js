/**
 * A virtual grid: only the visible rows and columns are in the document.
 * Keys: arrows, Page Up and Down, Home and End move; space selects the row; Enter opens it.
 */
import { h } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import htm from "htm";

const html = htm.bind(h);
const ROW_HEIGHT = 28, EXTRA = 5;

/**
 * @param {object} props
 * @param {string} props.label the name for screen readers
 * @param {{name: string, title: string, width: number, isNumeric: boolean}[]} props.columns
 * @param {number} props.total number of rows
 * @param {(row: number, column: string) => string | undefined} props.cell the text of a cell; undefined while it loads
 * @param {(row: number) => string | undefined} props.rowId
 * @param {Set<string>} props.selected ids of selected rows
 * @param {(id: string) => void} props.onToggle
 * @param {string} [props.linkColumn] the column whose cells are links @param {(row: number) => string | undefined} [props.href]
 * @param {(first: number, last: number, columns: string[]) => void} props.onWindow called with what is visible
 * @param {string} props.sort
 * @param {boolean} props.descending
 * @param {(column: string) => void} props.onSort
 */
export function Grid(props) {
  const { columns, total } = props;
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, left: 0, width: 1280, height: 600 });
  const [focus, setFocus] = useState({ row: 0, column: 0 });
  const edges = [0];
  for (const column of columns) edges.push(edges[edges.length - 1] + column.width);
  const first = Math.max(0, Math.floor(view.top / ROW_HEIGHT) - EXTRA);
  const last = Math.min(total, Math.ceil((view.top + view.height) / ROW_HEIGHT) + EXTRA);
  let from = 0, to = columns.length;
  while (from < columns.length - 1 && edges[from + 1] <= view.left) from++;
  while (to > from + 1 && edges[to - 1] >= view.left + view.width) to--;
  const visible = columns.slice(from, to);
  const key = `${first} ${last} ${visible.map((column) => column.name)}`;

  useLayoutEffect(() => {
    const measure = () => {
      const { scrollTop, scrollLeft, clientWidth, clientHeight } = box.current;
      setView({ top: scrollTop, left: scrollLeft, width: clientWidth, height: clientHeight - ROW_HEIGHT });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    box.current.addEventListener("scroll", measure, { passive: true });
    return () => observer.disconnect();
  }, []);
  useEffect(() => { props.onWindow(first, last, visible.map((column) => column.name)); }, [key]);

  function moveTo(row, column) {
    row = Math.max(0, Math.min(total - 1, row));
    column = Math.max(0, Math.min(columns.length - 1, column));
    const element = box.current, top = row * ROW_HEIGHT;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + 2 * ROW_HEIGHT > element.scrollTop + element.clientHeight) element.scrollTop = top + 2 * ROW_HEIGHT - element.clientHeight;
    if (edges[column] < element.scrollLeft) element.scrollLeft = edges[column];
    else if (edges[column + 1] > element.scrollLeft + element.clientWidth) element.scrollLeft = edges[column + 1] - element.clientWidth;
    setFocus({ row, column });
  }
  function onKeyDown(event) {
    if (event.target !== box.current || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(view.height / ROW_HEIGHT) - 1), { row, column } = focus;
    const targets = {
      ArrowDown: [row + 1, column], ArrowUp: [row - 1, column], ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1],
      PageDown: [row + page, column], PageUp: [row - page, column], Home: [0, column], End: [total - 1, column],
    };
    if (event.key === "Enter" && props.href?.(focus.row)) location.hash = props.href(focus.row);
    else if (event.key === " " && props.rowId(focus.row)) props.onToggle(props.rowId(focus.row));
    else if (event.key in targets) moveTo(...targets[event.key]);
    else return;
    event.preventDefault();
  }
  function content(row, column) {
    const text = props.cell(row, column) ?? "…", href = column === props.linkColumn && props.href?.(row);
    return href ? html`<a href=${href} tabindex="-1" onClick=${(event) => event.stopPropagation()}>${text}</a>` : text;
  }
  const rows = [];
  for (let row = first; row < last; row++) {
    const id = props.rowId(row), isSelected = id !== undefined && props.selected.has(id);
    rows.push(html`
      <div role="row" key=${row} aria-rowindex=${row + 2} aria-selected=${isSelected} class="row"
           style=${{ top: `${(row + 1) * ROW_HEIGHT}px`, width: `${edges[columns.length]}px` }}
           onClick=${() => { setFocus({ row, column: focus.column }); if (id) props.onToggle(id); }}>
        ${visible.map((column, index) => html`
          <div role="gridcell" id=${`cell-${row}-${from + index}`} aria-colindex=${from + index + 1} key=${column.name}
               class=${`cell${column.isNumeric ? " number" : ""}${row === focus.row && from + index === focus.column ? " focus" : ""}`}
               style=${{ left: `${edges[from + index]}px`, width: `${column.width}px` }}>${content(row, column.name)}</div>`)}
      </div>`);
  }
  return html`
    <div class="grid" role="grid" tabindex="0" ref=${box} onKeyDown=${onKeyDown} aria-label=${props.label} aria-multiselectable="true"
         aria-rowcount=${total + 1} aria-colcount=${columns.length} aria-activedescendant=${focus.row >= first && focus.row < last && focus.column >= from && focus.column < to ? `cell-${focus.row}-${focus.column}` : undefined}>
      <div class="rows" role="presentation" style=${{ height: `${(total + 1) * ROW_HEIGHT}px`, width: `${edges[columns.length]}px` }}>
        <div role="row" aria-rowindex="1" class="row head">
          ${visible.map((column, index) => html`
            <div role="columnheader" key=${column.name} aria-colindex=${from + index + 1} class=${`cell${column.isNumeric ? " number" : ""}`}
                 aria-sort=${column.name !== props.sort ? "none" : props.descending ? "descending" : "ascending"}
                 style=${{ left: `${edges[from + index]}px`, width: `${column.width}px` }}>
              <button title=${column.name} onClick=${() => props.onSort(column.name)}>
                ${column.title}${column.name !== props.sort ? "" : props.descending ? " ↓" : " ↑"}</button>
            </div>`)}
        </div>
        ${rows}
      </div>
    </div>`;
}
