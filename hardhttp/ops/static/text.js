// Figures as people read them, and elements without markup: text never becomes anything else.

export const at = id => document.getElementById(id);

export function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** `h("td", {class: "n"}, "text", node, ...)` */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const whole = n => Math.round(n).toLocaleString("en");

/** Something a second: small ones are told apart. */
export const rate = n => n > 0 && n < 10 ? n.toLocaleString("en", {maximumFractionDigits: 1}) : whole(n);

export function size(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n.toLocaleString("en", {maximumFractionDigits: n < 10 && unit ? 1 : 0})} ${units[unit]}`;
}

export function span(s) {
  if (s < 1) return s < 0.000005 ? "0 ms" : `${s < 0.001 ? +(s * 1000).toPrecision(2) : s < 0.01 ? +(s * 1000).toFixed(1) : Math.round(s * 1000)} ms`;
  if (s < 120) return `${+s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 7200) return `${+(s / 60).toFixed(0)} min`;
  if (s < 172800) return `${+(s / 3600).toFixed(1)} h`;
  return `${whole(s / 86400)} d`;
}

/** Rows of a table's body, by key: those that are there are kept, so that focus and selection are. */
export function rows(body, items, key, make, fill) {
  const there = new Map([...body.children].map(row => [row.dataset.key, row]));
  const wanted = items.map(item => {
    const name = String(key(item));
    const row = there.get(name) || make(item);
    row.dataset.key = name;
    fill(row, item);
    return row;
  });
  for (const row of [...body.children]) if (!wanted.includes(row)) row.remove();
  wanted.forEach((row, place) => { if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null); });
}
