// The dashboard: what each snapshot of the figures shows, and when they are listened to. Counters come as they stand;
// a rate is what two snapshots differ by. The token, where one is asked for, is in one variable here and nowhere else.

import {Chart} from "./charts.js";
import {Connections} from "./connections.js";
import {listen} from "./feed.js";
import {showWorkers} from "./workers.js";
import {at, h, rate, rows, show, size, span, whole} from "./text.js";

const REFUSALS_SECONDS = 300;
const SAID = {connecting: "connecting", live: "live", lost: "lost, trying again", denied: "token needed", paused: "paused"};
const PHASES = ["handling", "idle", "head", "body", "upgraded", "closing"];
const STATUSES = ["2xx", "3xx", "4xx", "5xx", "1xx"];
const QUANTILES = [["half within", .5], ["95 of 100 within", .95], ["99 of 100 within", .99]];
const perSecond = n => `${rate(n)}/s`, bytesPerSecond = n => `${size(n)}/s`;
const many = (n, what) => `${whole(n)} ${what}${Math.round(n) === 1 ? "" : "s"}`;

const charts = Object.fromEntries([
  {id: "connections", title: "Connections, by phase", stacked: true, floor: 4, format: whole, meter: "share of the connections allowed", series: PHASES.map(name => ({name, format: whole}))},
  {id: "requests", title: "Requests, by status", stacked: true, floor: 4, format: rate, series: STATUSES.map(name => ({name, format: perSecond}))},
  {id: "waits", title: "Latency", floor: .01, format: span, series: [...QUANTILES.map(([name]) => ({name, format: span})), {name: "longest wait now", format: span}, {name: "reactor late by", format: span}]},
  {id: "memory", title: "Memory", floor: 1 << 20, format: size, bytes: true, meter: "share of the bytes that may be held", series: [{name: "resident", format: size}, {name: "held (ledger)", format: size}]},
  {id: "bytes", title: "Traffic", floor: 1024, format: size, bytes: true, series: [{name: "out", format: bytesPerSecond}, {name: "in", format: bytesPerSecond}]},
  {id: "sse", title: "Event subscribers and lag", floor: 4, format: whole, right: {format: span, floor: 1}, series: [{name: "open", format: whole}, {name: "connection full", format: whole}, {name: "furthest behind", format: span, right: true}]},
].map(about => [about.id, new Chart(about)]));

let token = null, last = null, listening = null, paused = false, refused = [], ready = "";
const headers = () => token === null ? {} : {Authorization: `Bearer ${token}`};
const connections = new Connections((path, options) => fetch(path, {...options, headers: headers()}));

// -- what a snapshot shows ----------------------------------------------------------------------------------

function since(now, count) {
  const seconds = last === null ? 0 : now.at - last.at;
  return seconds > 0 && seconds < 60 ? Math.max(0, count(now) - count(last)) / seconds : null;
}

/** The seconds within which answers since the last snapshot had begun, for each quantile; null when there were none. */
function within(now) {
  const {bounds, counts} = now.requests.first_byte;
  const before = last === null ? counts : last.requests.first_byte.counts;
  const fresh = counts.map((count, i) => Math.max(0, count - before[i]));
  const all = fresh.reduce((sum, n) => sum + n, 0);
  return QUANTILES.map(([, share]) => all ? quantile(bounds, fresh, share * all) : null);
}

/** Where the `wanted`th of all lies, as if those of a bucket were spread over it; above the last bound, that bound. */
function quantile(bounds, counts, wanted) {
  let below = 0;
  for (const [i, bound] of bounds.entries()) {
    const least = i ? bounds[i - 1] : 0;
    if (below + counts[i] >= wanted) return least + (bound - least) * (wanted - below) / counts[i];
    below += counts[i];
  }
  return bounds.at(-1);
}

function showCharts(now) {
  const {connections: open, requests, memory, reactor, hub} = now;
  charts.connections.push(now.at, PHASES.map(phase => open.phases[phase]));
  charts.connections.say(whole(open.open), `of ${whole(open.max)}, ${whole(open.accepted)} so far`, open.open / open.max);
  charts.requests.push(now.at, STATUSES.map(status => since(now, f => f.requests.by_status[status])));
  const failed = requests.failed ? `, ${many(requests.failed, "handler")} failed` : "";
  charts.requests.say(perSecond(since(now, f => f.requests.total) ?? 0), `${whole(requests.total)} so far${failed}`);
  const stalls = reactor.stalls ? `${many(reactor.stalls, "stall")}, up to ${span(reactor.worst_seconds)}` : "no stall";
  const [half, most, nearlyAll] = within(now);
  charts.waits.push(now.at, [half, most, nearlyAll, requests.unanswered_seconds, reactor.late_seconds]);
  charts.waits.say(nearlyAll === null ? "–" : span(nearlyAll), `99 of 100; ${stalls}`);
  charts.memory.push(now.at, [memory.resident_bytes, memory.held_bytes]);
  const pressure = memory.pressure === "none" ? "" : `, ${memory.pressure}`;
  charts.memory.say(size(memory.held_bytes), `of ${size(memory.max_bytes)} held${pressure}`, memory.held_bytes / memory.max_bytes);
  const kinds = Object.entries(memory.kinds).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
  rows(charts.memory.extra, kinds, ([kind]) => kind,
    ([kind]) => h("tr", {}, h("th", {scope: "row"}, h("span", {class: "swatch"}), kind), h("td", {class: "n"}), h("td")),
    (row, [, n]) => show(row.children[1], size(n)));
  charts.bytes.push(now.at, [since(now, f => f.bytes_out), since(now, f => f.bytes_in)]);
  charts.bytes.say(bytesPerSecond(since(now, f => f.bytes_out) ?? 0), `${size(now.bytes_out)} out, ${size(now.bytes_in)} in so far`);
  charts.sse.node.hidden = at("subscribers-card").hidden = hub === null;
  if (hub !== null) {
    charts.sse.push(now.at, [hub.subscribers, hub.waiting, hub.behind_seconds]);
    charts.sse.say(whole(hub.subscribers), `${many(hub.published, "event")}, ${size(hub.queued_bytes)} queued`);
  }
}

const READINESS = {unknown: "Asking the stores.", yes: "Ready for requests.", noted: "Ready for requests, with a note.", no: "Not ready for requests.", lost: "No answer. What is below is what the server said last."};

function showReadiness(now) {
  const state = now.ready === null ? "unknown" : !now.ready ? "no" : now.notes.length ? "noted" : "yes";
  sayReadiness(state, [...now.problems, ...now.notes]);
}

function sayReadiness(state, lines) {
  if (ready === state + lines.join()) return;  // a screen reader would say it again
  ready = state + lines.join();
  at("health").dataset.ready = state;
  show(at("ready"), READINESS[state]);
  at("problems").replaceChildren(...lines.map(line => h("li", {}, line)));
  document.title = state === "no" ? "NOT READY · hardhttp" : state === "lost" ? "NO ANSWER · hardhttp" : "hardhttp";
}

function showRefusals(now) {
  refused.push([now.at, now.refusals]);
  refused = refused.filter(([then]) => then >= now.at - REFUSALS_SECONDS);
  const before = refused[0][1];
  rows(at("refusals").tBodies[0], Object.entries(now.refusals).sort((a, b) => b[1] - a[1]), ([reason]) => reason,
    ([reason]) => h("tr", {}, h("th", {scope: "row"}, reason), h("td", {class: "n"}), h("td", {class: "n"})),
    (row, [reason, n]) => {
      show(row.children[1], whole(n));
      show(row.children[2], n > (before[reason] || 0) ? `+${whole(n - (before[reason] || 0))}` : "–");
    });
}

function showSubscribers(hub) {
  rows(at("subscribers").tBodies[0], hub === null ? [] : hub.slowest, each => each.id,
    () => h("tr", {}, h("th", {scope: "row"}), ...Array.from({length: 3}, () => h("td", {class: "n"}))),
    (row, each) => {
      const more = each.topic_count > each.topics.length ? ` and ${each.topic_count - each.topics.length} more` : "";
      [each.topics.join(", ") + more, span(each.behind_seconds), whole(each.queued_events), size(each.queued_bytes + each.unsent_bytes)]
        .forEach((text, place) => show(row.children[place], text));
    });
}

function take(now) {
  if (last !== null && now.uptime_seconds < last.uptime_seconds) { last = null; refused = []; }  // another process
  at("board").hidden = false;
  show(at("about"), `${now.version}, up ${span(Math.floor(now.uptime_seconds))}, on ${location.host}`);
  for (const chart of Object.values(charts)) if (!chart.plot && !chart.node.hidden) chart.draw();
  showReadiness(now);
  showCharts(now);
  showWorkers(now);
  connections.show(now.connections.slowest);
  showRefusals(now);
  showSubscribers(now.hub);
  last = now;
}

// -- when it is listened to ---------------------------------------------------------------------------------

function tell(state) {
  at("status").dataset.state = state;
  show(at("status"), SAID[state]);
  at("pause").hidden = state === "denied";
  if (state === "lost") sayReadiness("lost", []);  // it was ready when it was last heard of
  if (state === "denied") ask(token === null ? "" : "That is not its token.");
}

function ask(said) {
  token = null;
  at("board").hidden = true;
  at("ask").hidden = false;
  show(at("ask-said"), said);
  at("token").focus();
}

/** Nobody watches a page that is paused or out of sight, and the server takes no figures for it. */
function settle() {
  const wanted = !paused && !document.hidden && (token !== null || document.documentElement.dataset.token === "none");
  if (wanted && listening === null) {
    const mine = listening = new AbortController();
    listen("/events", headers(), mine.signal, figures => { if (!mine.signal.aborted) take(figures); },
      state => { if (!mine.signal.aborted) tell(state); }).finally(() => { if (listening === mine) listening = null; });
  } else if (!wanted && listening !== null) {
    listening.abort();
    listening = null;
  }
}

at("pause").onclick = () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  settle();
  if (paused) tell("paused");
};

at("ask").onsubmit = event => {
  event.preventDefault();
  const given = at("token").value.trim();
  at("token").value = "";
  if (!/^[!-~]+$/.test(given)) return ask("A token is of printable characters, without blanks.");
  token = given;
  at("ask").hidden = true;
  settle();
};

function redraw() {
  for (const chart of Object.values(charts)) if (chart.plot) chart.draw();
}

at("charts").append(...Object.values(charts).map(chart => chart.node));
document.addEventListener("visibilitychange", settle);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(() => { for (const chart of Object.values(charts)) chart.fit(); }).observe(at("charts"));
if (document.documentElement.dataset.token === "asked") {
  tell("denied");
  at("links").hidden = true;  // a link sends no token
}
settle();
