// The stream of figures, read with fetch: the native EventSource sends no Authorization. Each event is one line of
// data, so only those lines are looked at. It comes back by itself; whoever calls it is told what becomes of it.

const FIRST_RETRY_MS = 1000;
const MOST_RETRY_MS = 10000;
const SILENT_MS = 20000;  // a comment comes every 15 seconds at least
const MAX_LINE_CHARACTERS = 4 << 20;

const sleep = (ms, signal) => new Promise(done => {
  const timer = setTimeout(over, ms);
  function over() {
    clearTimeout(timer);
    signal.removeEventListener("abort", over);
    done();
  }
  signal.addEventListener("abort", over);
});

async function read(body, take, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", timer = 0;
  try {
    for (;;) {
      const silence = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("silent")), SILENT_MS); });
      const {done, value} = await Promise.race([reader.read(), silence]);
      clearTimeout(timer);
      if (done || signal.aborted) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (rest.length > MAX_LINE_CHARACTERS) throw new Error("a line without an end");
      for (const line of lines) if (line.startsWith("data: ")) take(JSON.parse(line.slice(6)));
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

/**
 * Listen until `signal` is aborted, or the token is refused. `take(figures)` gets each snapshot; `tell(state)` hears
 * "connecting", "live", "lost" and "denied".
 */
export async function listen(url, headers, signal, take, tell) {
  let retryMs = FIRST_RETRY_MS;
  tell("connecting");
  while (!signal.aborted) {
    try {
      const answer = await fetch(url, {headers: {...headers, Accept: "text/event-stream"}, signal, cache: "no-store"});
      if (answer.status === 401) return tell("denied");
      if (answer.ok) {
        retryMs = FIRST_RETRY_MS;
        tell("live");
        await read(answer.body, take, signal);
      }
    } catch { /* it is lost, however it was */ }
    if (signal.aborted) return;
    tell("lost");
    await sleep(retryMs * (0.75 + Math.random() / 2), signal);
    retryMs = Math.min(2 * retryMs, MOST_RETRY_MS);
  }
}
