"use strict";

const at = id => document.getElementById(id);
let csrf = null, source = null;
const seen = new Set();

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  const answer = await fetch("api" + path, { ...options, headers });
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title);
  return body;
}

// What others have written goes in as text, never as HTML.
function show(message) {
  if (seen.has(message.id)) return;
  seen.add(message.id);
  const line = document.createElement("li"), name = document.createElement("b"), text = document.createElement("span");
  name.textContent = message.name;
  text.textContent = message.text;
  line.append(name, " ", text);
  if (message.picture) {
    const picture = document.createElement("img");
    picture.src = "api/pictures/" + message.picture;
    picture.alt = "A picture from " + message.name;
    line.append(picture);
  }
  at("messages").append(line);
  line.scrollIntoView({ block: "nearest" });
}

async function enter(me) {
  csrf = me.csrf;
  at("sign-in").hidden = Boolean(me.name);
  at("room").hidden = at("who").hidden = !me.name;
  if (!me.name) return;
  at("name").textContent = me.name;
  // Listen first, then read what was said before: nothing falls between, and nothing is shown twice.
  source = new EventSource("api/events");
  source.addEventListener("message", event => show(JSON.parse(event.data)));
  source.onopen = async () => (await ask("/messages")).forEach(show);
}

async function leave() {
  if (source) source.close();
  source = csrf = null;
  seen.clear();
  at("messages").replaceChildren();
  await enter(await ask("/me"));
}

function complain(error) { at("complaint").textContent = error ? error.message : ""; }

function on(id, type, act) {
  at(id).addEventListener(type, async event => {
    event.preventDefault();
    complain(null);
    try { await act(event.target); } catch (error) { complain(error); }
  });
}

on("sign-in", "submit", async form => {
  const given = JSON.stringify(Object.fromEntries(new FormData(form)));
  await enter(await ask("/sign-in", { method: "POST", body: given, headers: { "Content-Type": "application/json" } }));
});
on("say", "submit", async form => {
  await ask("/messages", { method: "POST", body: new FormData(form) });
  form.reset();
});
on("sign-out", "click", async () => { await ask("/sign-out", { method: "POST" }); await leave(); });

ask("/me").then(enter, complain);
