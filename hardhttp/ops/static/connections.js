// The slowest connections, and the way to end one. A button under the pointer must be that of the connection that was
// looked at: so rows stay where they are while the pointer or the focus is among them, and who has gone is struck out.
// Ending takes two presses of one button; leaving it disarms it.

import {at, h, rows, show, size, span} from "./text.js";

const LONG_SECONDS = 5;
const MOST_ROWS = 40;  // that rest while the pointer does
const CELLS = [
  ["Waits", each => each.waited_seconds ? span(each.waited_seconds) : "–"],
  ["Age", each => span(each.age_seconds)],
  ["In", each => size(each.bytes_in)],
  ["Out", each => size(each.bytes_out)],
  ["Queued", each => size(each.queued_bytes)],
];

const requestOf = each => each.requests.join(", ") + (each.request_count > each.requests.length ? " …" : "");

export class Connections {
  /** `ask(path, options)` is fetch, with the token. */
  constructor(ask) {
    this.ask = ask;
    this.table = at("slowest");
    this.body = this.table.tBodies[0];
    this.body.addEventListener("focusout", event => this.#disarm(event.target));
    this.body.addEventListener("keydown", event => { if (event.key === "Escape") this.#disarm(event.target); });
  }

  show(found) {
    const rests = this.table.matches(":hover") || this.table.contains(document.activeElement);
    const still = rests && this.body.children.length < MOST_ROWS;
    let wanted = found;
    if (still) {
      const by = new Map(found.map(each => [String(each.id), each]));
      const kept = [...this.body.children].map(row => row.dataset.key);
      wanted = [...kept.map(key => by.get(key) || {id: key, gone: true}), ...found.filter(each => !kept.includes(String(each.id)))];
    }
    rows(this.body, wanted, each => each.id, each => this.#row(each), (row, each) => this.#fill(row, each));
  }

  #row(each) {
    const button = h("button", {type: "button", class: "kill"}, "End");
    button.onclick = () => this.#press(button, each);
    const row = h("tr", {role: "row"}, h("th", {scope: "row", role: "rowheader"}), h("td", {class: "request", role: "cell"}), h("td", {class: "phase", role: "cell"}),
      ...CELLS.map(([label]) => h("td", {class: "n", role: "cell", "data-label": label})), h("td", {role: "cell"}, button));
    this.#name(button, each);
    return row;
  }

  #name(button, each) {
    const armed = "armed" in button.dataset;
    show(button, armed ? "Sure?" : "End");
    button.setAttribute("aria-label", armed ? `End connection ${each.id}: press again to do it` : `End connection ${each.id} of ${each.peer}`);
  }

  #fill(row, each) {
    row.classList.toggle("gone", Boolean(each.gone));
    row.querySelector("button").disabled = row.classList.contains("gone");
    if (each.gone) return;
    const [peer, request, phase, ...cells] = row.children;
    show(peer, each.peer || "?");
    show(request, requestOf(each) || "–");
    show(phase, `${each.phase} · ${each.protocol}${each.tls ? " · TLS" : ""}${each.worker ? ` · worker ${each.worker}` : ""}`);
    CELLS.forEach(([, text], place) => show(cells[place], text(each)));
    cells[0].classList.toggle("long", each.waited_seconds >= LONG_SECONDS);
  }

  #disarm(button) {
    if (button.dataset && "armed" in button.dataset) {
      delete button.dataset.armed;
      this.#name(button, button.connection);
    }
  }

  async #press(button, each) {
    button.connection = each;
    if (!("armed" in button.dataset)) {
      button.dataset.armed = "";
      return this.#name(button, each);
    }
    this.#disarm(button);
    this.table.focus();  // a button that is disabled loses it, and whoever uses the keyboard his place
    button.disabled = true;
    const said = at("kill-said");
    said.classList.remove("bad");
    try {
      const answer = await this.ask(`/connections/${each.id}`, {method: "DELETE"});
      if (answer.ok || answer.status === 404) {
        button.closest("tr").classList.add("gone");
        show(said, answer.ok ? `Connection ${each.id} of ${each.peer} was ended.` : `Connection ${each.id} had ended already.`);
      } else {
        throw new Error(`${answer.status} ${answer.statusText}`);
      }
    } catch (error) {
      button.disabled = false;
      said.classList.add("bad");
      show(said, `Connection ${each.id} could not be ended: ${error.message}`);
    }
  }
}
