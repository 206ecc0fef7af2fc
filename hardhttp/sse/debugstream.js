// A stream of events, read with fetch. The native EventSource sends no Authorization, tells of no type it was not
// asked for, and hides what it was refused with; so this reads the stream as the HTML standard says (9.2.6), and
// comes back with the last id as a browser would. It shows nothing: whoever calls it is told.

const FIRST_RETRY_MS = 3000;
const LEAST_RETRY_MS = 100;  // a hub that says "retry: 0" is not hammered
const MOST_MS = 2 ** 31 - 1;  // what a timer takes
const STEP_MS = 250;
const MAX_EVENT_CHARACTERS = 8 << 20;  // of an event, or of a line that has no end
const COME_AGAIN = [429, 502, 503, 504];

class TooLongError extends Error {}

/** Text in pieces to events: `take({id, type, data})`. `lastId` is what a reconnect sends. */
export class EventParser {
  #take;
  #rest = "";
  #afterCR = false;
  #data = [];
  #size = 0;
  #type = "";
  #id;

  constructor(take, lastId = "") {
    this.#take = take;
    this.#id = this.lastId = lastId;
    this.retryMs = FIRST_RETRY_MS;
  }

  /** A new connection: half an event is none, nor is its id. */
  begin() {
    this.#rest = "";
    this.#afterCR = false;
    this.#id = this.lastId;
    this.#clear();
  }

  feed(text) {
    if (this.#afterCR && text.startsWith("\n")) text = text.slice(1);  // the other half of a CRLF
    this.#afterCR = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    this.#bound(this.#rest.length);
    for (const line of lines) this.#line(line);
  }

  #bound(more) {
    if (this.#size + more > MAX_EVENT_CHARACTERS) throw new TooLongError("an event is too long to be shown");
  }

  #line(line) {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      this.#bound(value.length);
      this.#size += value.length + 1;
      this.#data.push(value);
    } else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Math.min(Number(value), MOST_MS);
  }

  #dispatch() {
    this.lastId = this.#id;
    const data = this.#data, type = this.#type || "message";
    this.#clear();
    if (data.length) this.#take({id: this.lastId, type, data: data.join("\n")});
  }

  #clear() {
    this.#data = [];
    this.#size = 0;
    this.#type = "";
  }
}

/** What an answer that is no success says of itself. Markup is never looked at. */
export async function reasonOf(answer) {
  const kind = answer.headers.get("content-type") || "";
  let detail = "";
  try {
    if (kind.includes("json")) detail = (await answer.json()).detail;
    else if (kind.startsWith("text/plain")) detail = (await answer.text()).trim();
  } catch { /* it says nothing */ }
  const status = `${answer.status} ${answer.statusText}`.trim();
  return typeof detail === "string" && detail ? `${status}: ${detail.slice(0, 500)}` : status;
}

function sleep(ms, signal) {
  return new Promise(done => {
    const timer = setTimeout(over, ms);
    function over() {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      done();
    }
    signal.addEventListener("abort", over);
  });
}

/** Wait, and tell how long it still is. */
async function wait(ms, signal, tell) {
  for (let until = performance.now() + ms, left = ms; left > 0 && !signal.aborted; left = until - performance.now()) {
    tell("waiting", {leftMs: left});
    await sleep(Math.min(left, STEP_MS), signal);
  }
}

/** The wait that a refusal asks for, or null where coming again is of no use. */
function comeAgainMs(answer, parser) {
  if (!COME_AGAIN.includes(answer.status)) return null;
  const seconds = answer.headers.get("retry-after") || "";
  return /^[0-9]{1,6}$/.test(seconds) ? Number(seconds) * 1000 : parser.retryMs;
}

/** One connection, to its end: how long to wait until the next, or null when there shall be none. */
async function connect(url, request, parser, signal, tell) {
  const headers = {...request.headers, Accept: "text/event-stream, application/problem+json;q=0.5"};
  if (parser.lastId) headers["Last-Event-ID"] = parser.lastId;
  const answer = await fetch(url, {...request, headers, signal, cache: "no-store"});
  if (answer.status !== 200) {
    const ms = comeAgainMs(answer, parser), reason = await reasonOf(answer);
    tell(ms === null ? "refused" : "lost", {reason});
    return ms;
  }
  const kind = answer.headers.get("content-type") || "nothing";
  if (!kind.startsWith("text/event-stream")) {
    tell("refused", {reason: `the answer is ${kind}, not text/event-stream`});
    return null;
  }
  parser.begin();
  tell("open", {after: answer.headers.get("last-event-id") || ""});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return parser.retryMs;
    parser.feed(value);
  }
}

/**
 * Listen until `signal` is aborted or the hub refuses; `tell(state, details)` hears of each "connecting", "open",
 * "lost", "waiting" and "refused", with a `reason` that the hub gave or the `error` that was raised. `request` has
 * `headers` and `credentials`.
 */
export async function listen(url, request, parser, signal, tell) {
  while (!signal.aborted) {
    tell("connecting", {});
    let ms = parser.retryMs;
    try {
      ms = await connect(url, request, parser, signal, tell);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof TooLongError) ms = null;
      tell(ms === null ? "refused" : "lost", {error});
    }
    if (ms === null) return;
    await wait(Math.max(ms, LEAST_RETRY_MS), signal, tell);
  }
}
