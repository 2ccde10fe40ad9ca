/** A dialog that asks before something is done. */
import { h } from "preact";
import { useEffect, useRef } from "preact/hooks";
import htm from "htm";

const html = htm.bind(h);

/**
 * @param {object} props
 * @param {string} props.question @param {string} props.action the text of its button
 * @param {() => void} props.onConfirm @param {() => void} props.onClose
 */
export function Confirm({ question, action, onConfirm, onClose }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  return html`
    <dialog ref=${dialog} onClose=${onClose} aria-label=${action}>
      <p>${question}</p>
      <div class="tools">
        <button type="button" autofocus onClick=${() => dialog.current.close()}>Cancel</button>
        <button type="button" class="danger" onClick=${() => { onConfirm(); dialog.current.close(); }}>${action}</button>
      </div>
    </dialog>`;
}
