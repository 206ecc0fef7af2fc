// The workers of a parent: a row for each process. A server without any sends none, and shows nothing.

import {at, h, rows, show, size, span, whole} from "./text.js";

const CELLS = [
  [null, each => each.unanswered_pings ? `${each.state}, silent` : each.state],
  ["Process", each => String(each.pid ?? "–")],
  ["Age", each => span(each.age_seconds)],
  ["Resident", each => each.rss_bytes === null ? "–" : size(each.rss_bytes)],
  ["Begun again", each => whole(each.restarts)],
  ["Last end", each => each.last_end ?? "–"],
];

function row() {
  return h("tr", {role: "row"}, h("th", {scope: "row", role: "rowheader"}),
    ...CELLS.map(([label], place) => h("td", {role: "cell", ...(label ? {"data-label": label} : {}), ...(place > 0 && place < 5 ? {class: "n"} : {})})));
}

export function showWorkers({workers, wanted_workers: wanted, worker_ends: ends}) {
  at("workers-card").hidden = at("workers-link").hidden = !workers;
  if (!workers) return;
  const ready = workers.filter(each => each.state === "ready").length;
  show(at("workers-title"), `Workers: ${whole(ready)} of ${whole(wanted)} ready`);
  rows(at("workers").tBodies[0], workers, each => each.number, row, (line, each) => {
    show(line.children[0], `Worker ${each.number}`);
    CELLS.forEach(([, text], place) => show(line.children[place + 1], text(each)));
    line.dataset.state = each.unanswered_pings ? "silent" : each.state;
  });
  const ended = Object.entries(ends).filter(([, n]) => n).map(([cause, n]) => `${cause} ${whole(n)}`);
  show(at("workers-ends"), ended.length ? `Ended so far: ${ended.join(", ")}.` : "None has ended so far.");
}
