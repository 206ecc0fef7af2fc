// The page to try a hub by hand. What comes from elsewhere is put into the page as text alone. The token goes into
// the Authorization header, and nowhere else: not into an address, not into any storage, and with the page it goes.

import {EventParser, listen, reasonOf} from "./debugstream.js";

const SHOWN_EVENTS = 500;
const SHOWN_SUBSCRIPTIONS = 500;
const SHOWN_CHARACTERS = 4000;  // of one event's data
const REFRESH_MS = 500;

const at = id => document.getElementById(id);
const lines = id => at(id).value.split("\n").map(line => line.trim()).filter(Boolean);
const seconds = ms => `${(ms / 1000).toFixed(1)} s`;
const shortened = text => text.length <= SHOWN_CHARACTERS
  ? text : `${text.slice(0, SHOWN_CHARACTERS)}… (${text.length.toLocaleString("en")} characters in all)`;

function say(id, text, bad = false) {
  at(id).textContent = text;
  at(id).classList.toggle("bad", bad);
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// -- whom to ask, and as whom --------------------------------------------------------------------

at("hub").value = new URL("..", location.href).href.replace(/\/$/, "");

/** Whether what is above the forms makes sense; what does not is shown by the browser. */
const ready = () => at("hub").reportValidity() && at("token").reportValidity();
const byCookie = () => at("by-cookie").checked;

function request(headers = {}) {
  const token = byCookie() ? "" : at("token").value.trim();
  return {
    headers: token ? {...headers, Authorization: `Bearer ${token}`} : headers,
    credentials: byCookie() ? "include" : "omit",
  };
}

/** Why there was no answer: the browser tells a page little more than that. */
function unreached(error, url) {
  const elsewhere = new URL(url, location.href).origin !== location.origin;
  return error.message + (elsewhere ? `. This page reaches ${location.origin}, and the origins it was set up for.` : "");
}

/** What the token says of itself; whether that is true, the hub judges. */
function describe(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
    const {exp, mercure = {}} = JSON.parse(new TextDecoder().decode(bytes));
    const list = name => Array.isArray(mercure[name]) ? mercure[name].join(" ") || "(no topic)" : "nothing";
    const end = Number.isFinite(exp) ? new Date(exp * 1000).toLocaleString("en-GB") : "never";
    return shortened(`publish: ${list("publish")} · subscribe: ${list("subscribe")} · ends: ${end}`);
  } catch {
    return "It cannot be read as a JWT.";
  }
}

function tokenChanged() {
  const token = at("token").value.trim();
  at("token").disabled = byCookie();
  say("token-said", byCookie() ? "The browser sends the cookie mercureAuthorization, if this site has set it."
    : token ? describe(token) : "Without one: what the hub allows to anybody.");
}

at("token").addEventListener("input", tokenChanged);
for (const id of ["by-cookie", "by-token"]) at(id).addEventListener("change", tokenChanged);
tokenChanged();

// -- finding the hub of a resource ---------------------------------------------------------------

/** The links of a Link header (RFC 8288, 3): where to, and their parameters. */
function* linksOf(header) {
  for (const [, url, rest] of header.matchAll(/<([^>]*)>((?:[^,"]|"(?:[^"\\]|\\.)*")*)/g)) {
    const found = rest.matchAll(/;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g);
    yield {url, ...Object.fromEntries([...found].map(([, name, quoted, bare]) => [name.toLowerCase(), quoted ?? bare]))};
  }
}

at("discover").addEventListener("submit", async event => {
  event.preventDefault();
  const asked = new URL(at("resource").value, location.href);
  try {
    // It is no hub yet, so it is not shown the token.
    const answer = await fetch(asked, {credentials: byCookie() ? "include" : "omit", cache: "no-store"});
    const links = [...linksOf(answer.headers.get("link") || "")];
    const related = name => links.find(link => (link.rel || "").toLowerCase().split(/\s+/).includes(name));
    const hub = related("mercure"), own = related("self");
    if (!hub) return say("discover-said", `${answer.status}: it has no Link with rel="mercure".`, true);
    const url = new URL(hub.url, answer.url);
    if (!/^https?:$/.test(url.protocol)) return say("discover-said", `${url} is not for the web.`, true);
    at("hub").value = url.href;
    const topic = new URL(own ? own.url : asked, answer.url);
    topic.hash = "";
    at("topics").value = topic.href;
    at("last").value = hub["last-event-id"] ?? at("last").value;
    say("discover-said", `Found: ${url.href}. Its topic is below.`);
  } catch (error) {
    say("discover-said", `It cannot be asked: ${unreached(error, asked)}`, true);
  }
});

// -- subscribing ---------------------------------------------------------------------------------

let subscription = null;  // {control, parser, state, connections, since, after}

const STATES = {
  connecting: "connecting", open: "live", lost: "reconnecting", waiting: "reconnecting", refused: "refused",
};

function status(state, text) {
  if (at("status").textContent === text) return;  // it is read out when it changes
  at("status").dataset.state = state;
  at("status").textContent = text;
}

function describeStream() {
  if (subscription === null) return say("stream", "");
  const {parser, connections, since, after, leftMs} = subscription;
  const parts = [leftMs ? `again in ${seconds(leftMs)}` : since ? `open since ${since}` : "not open"];
  if (connections > 1) parts.push(`connection ${connections}`);
  parts.push(`retry ${seconds(parser.retryMs)}`);
  if (parser.lastId) parts.push(`last id ${shortened(parser.lastId)}`);
  if (after) parts.push(`history after ${shortened(after)}`);
  say("stream", parts.join(" · "));
}

function heard(mine, state, {reason, error, leftMs, after}) {
  if (subscription !== mine) return;
  mine.leftMs = leftMs ?? 0;
  if (state === "connecting") mine.connections += 1;
  if (state !== "waiting") mine.since = "";
  if (state === "open") {
    Object.assign(mine, {since: new Date().toLocaleTimeString("en-GB"), after});
    say("stream-said", "");
    refreshSoon();
  }
  if (reason || error) say("stream-said", reason || unreached(error, mine.url), true);
  if (state !== "connecting" || mine.connections === 1) status(state, STATES[state]);
  if (state === "refused") end(mine);
  describeStream();
}

function end(mine) {
  mine.control.abort();
  subscription = null;
  at("stop").disabled = true;
}

function stop() {
  if (subscription === null) return;
  end(subscription);
  status("", "not subscribed");
  say("stream-said", "");
  describeStream();
}

at("stop").addEventListener("click", stop);

at("subscribe").addEventListener("submit", event => {
  event.preventDefault();
  if (!ready()) return;
  stop();
  say("stream-said", "");
  const url = new URL(at("hub").value);
  for (const topic of lines("topics")) url.searchParams.append("topic", topic);
  const mine = {url, control: new AbortController(), connections: 0, since: "", after: "", leftMs: 0};
  mine.parser = new EventParser(each => subscription === mine && show(each), at("last").value.trim());
  subscription = mine;
  at("stop").disabled = false;
  listen(url, request(), mine.parser, mine.control.signal, (state, details) => heard(mine, state, details));
});

// -- events, the newest first --------------------------------------------------------------------

let count = 0, fresh = [], drawing = false;

function show(event) {
  count += 1;
  fresh.push({...event, data: shortened(event.data), at: new Date()});
  if (fresh.length > SHOWN_EVENTS) fresh.shift();
  if (!drawing) requestAnimationFrame(draw);  // a thousand in one moment are drawn once
  drawing = true;
  if (event.data.includes('"Subscription"')) refreshSoon();
}

/** What a gap event says, in words. */
function gapOf(data) {
  try {
    const {reason, first, last} = JSON.parse(data);
    if (typeof reason !== "string") return "";
    const range = first && last ? ` from ${first} to ${last}` : first ? ` from ${first}` : last ? ` up to ${last}` : "";
    return shortened(`Events${range} are lost (${reason}).`);
  } catch {
    return "";
  }
}

function rowOf(event) {
  const row = element("li"), about = element("div", "", "about");
  const ms = String(event.at.getMilliseconds()).padStart(3, "0");
  const time = element("time", `${event.at.toLocaleTimeString("en-GB")}.${ms}`);
  time.dateTime = event.at.toISOString();
  about.append(time, element("b", shortened(event.type)), element("span", shortened(event.id)));
  row.append(about);
  const gap = event.type === "gap" ? gapOf(event.data) : "";
  if (gap) row.append(element("p", gap));
  row.append(element("pre", event.data));
  row.classList.toggle("gap", Boolean(gap));
  return row;
}

function draw() {
  drawing = false;
  const list = at("events"), rows = fresh.reverse().map(rowOf);
  fresh = [];
  list.prepend(...rows);
  while (list.children.length > SHOWN_EVENTS) list.lastElementChild.remove();
  at("count").textContent = count > SHOWN_EVENTS ? `${count}, the last ${SHOWN_EVENTS} below` : String(count);
  describeStream();
}

at("clear").addEventListener("click", () => {
  count = 0;
  fresh = [];
  at("events").replaceChildren();
  at("count").textContent = "0";
});

// -- publishing ----------------------------------------------------------------------------------

let sending = false;

at("publish").addEventListener("submit", async event => {
  event.preventDefault();
  if (sending || !ready()) return;  // a double click is one event
  sending = true;
  say("publish-said", "");
  const form = new URLSearchParams();
  for (const topic of lines("publish-topics")) form.append("topic", topic);
  form.append("data", at("data").value);
  for (const name of ["id", "type", "retry"]) if (at(name).value) form.append(name, at(name).value);
  if (at("private").checked) form.append("private", "on");
  try {
    const asked = request({Accept: "text/plain, application/problem+json;q=0.5"});
    const answer = await fetch(at("hub").value, {...asked, method: "POST", body: form});
    if (answer.ok) say("publish-said", `Published: ${shortened(await answer.text())}`);
    else say("publish-said", await reasonOf(answer), true);
  } catch (error) {
    say("publish-said", `It was not sent: ${unreached(error, at("hub").value)}`, true);
  } finally {
    sending = false;
  }
});

for (const area of document.querySelectorAll("form textarea")) {
  area.addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.form.requestSubmit();
  });
}

// -- who is there --------------------------------------------------------------------------------

function subscriptionRow({topic, subscriber, payload}) {
  const row = element("li"), about = element("div", "", "about");
  about.append(element("b", shortened(String(topic))), element("span", shortened(String(subscriber))));
  row.append(about);
  if (payload !== undefined) row.append(element("pre", shortened(JSON.stringify(payload))));
  return row;
}

/** `quietly`: what cannot be known is not complained of, because nobody asked. */
async function refresh(quietly) {
  if (!(quietly ? at("hub").validity.valid && at("token").validity.valid : ready())) return;
  const url = new URL(at("hub").value);
  url.pathname += "/subscriptions";
  const complain = text => {
    at("subscriptions").replaceChildren();
    at("there").textContent = "";
    if (!quietly) say("subscriptions-said", text, true);
  };
  try {
    const asked = request({Accept: "application/ld+json, application/problem+json;q=0.5"});
    const answer = await fetch(url, {...asked, cache: "no-store"});
    if (!answer.ok) {
      const none = answer.status === 404 ? ". The hub tells them when it runs with --subscriptions." : "";
      return complain(await reasonOf(answer) + none);
    }
    const found = (await answer.json()).subscriptions;
    const more = found.length - SHOWN_SUBSCRIPTIONS;
    at("subscriptions").replaceChildren(...found.slice(0, SHOWN_SUBSCRIPTIONS).map(subscriptionRow));
    at("there").textContent = more > 0 ? `${found.length}, ${more} of them not shown` : String(found.length);
    say("subscriptions-said", "Nobody is subscribed.");
  } catch (error) {
    complain(`They cannot be had: ${unreached(error, url)}`);
  }
}

let refreshing = 0;

/** Once in a while, however often it is called. */
function refreshSoon() {
  refreshing ||= setTimeout(() => { refreshing = 0; refresh(true); }, REFRESH_MS);
}

at("refresh").addEventListener("click", () => refresh(false));

// A page that is left may be kept to come back to: not with what was secret in it.
addEventListener("pagehide", () => {
  stop();
  at("token").value = "";
  tokenChanged();
});
