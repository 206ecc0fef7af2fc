// Charts of the last five minutes. A canvas says nothing to a screen reader, so behind each stands a table of the same
// figures, which is its legend too: every series with what it is now and the highest in view.

import {h, show} from "./text.js";

const VIEW_SECONDS = 300;
const LEAST_SECONDS = 60;  // a chart that has just begun shows so much
const GAP_SECONDS = 5;  // between snapshots: what was meanwhile is not known, and no line says it is
const PLOT_PX = 150;
const CLOCK = {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false};
const BINARY = Array.from({length: 50}, (_, power) => 2 ** power);

/** What was taken, in columns; `null` is a gap. */
class History {
  constructor(series) {
    this.columns = Array.from({length: series + 1}, () => []);
  }

  push(at, values) {
    const [times] = this.columns;
    if (times.length && at - times.at(-1) > GAP_SECONDS) this.#append(times.at(-1) + 1, values.map(() => null));
    this.#append(at, values);
    const before = times.findIndex(time => time >= at - VIEW_SECONDS - GAP_SECONDS);
    if (before > 0) for (const column of this.columns) column.splice(0, before);
  }

  #append(at, values) {
    [at, ...values].forEach((value, place) => this.columns[place].push(value));
  }

  highest(place) {
    return this.columns[place + 1].reduce((most, value) => value === null ? most : Math.max(most, value), 0);
  }
}

/** Each series on the shoulders of those before it. */
function stacked([times, ...columns]) {
  let below = times.map(() => 0);
  return [times, ...columns.map(column => below = column.map((value, i) => value === null ? null : value + below[i]))];
}

/**
 * `about` has a `title`, the `series` (`name`, `format`, and `right` for the other scale), a `format` of its scale, and
 * says whether it is `stacked`, counts `bytes`, and has a `meter`. `floor` is what the scale reaches at least.
 */
export class Chart {
  constructor(about) {
    this.about = about;
    this.history = new History(about.series.length);
    this.plot = null;
    this.value = h("strong", {}, "–");
    this.more = h("small");
    this.meter = about.meter ? h("meter", {min: 0, max: 1, low: .8, high: .95, optimum: 0, "aria-label": about.meter}) : "";
    this.box = h("div", {class: "plot", role: "img", "aria-label": `${about.title} over the last five minutes; the table that follows has the figures`});
    this.cells = about.series.map(() => [h("td", {class: "n"}, "–"), h("td", {class: "n"}, "–")]);
    this.swatches = about.series.map(() => h("span", {class: "swatch"}));
    this.extra = h("tbody");
    this.node = h("section", {class: "card chart", "aria-label": about.title, "data-chart": about.id},
      h("h2", {}, about.title), h("p", {class: "head"}, this.value, this.more), h("div", {class: "scale"}, this.meter), this.box, this.#table());
  }

  #table() {
    const body = about => about.series.map((series, i) =>
      h("tr", {"data-series": series.name}, h("th", {scope: "row"}, this.swatches[i], series.name), ...this.cells[i]));
    return h("table", {},
      h("caption", {class: "unseen"}, this.about.title),
      h("thead", {}, h("tr", {}, h("td"), h("th", {scope: "col", class: "n"}, "now"), h("th", {scope: "col", class: "n"}, "highest"))),
      h("tbody", {}, ...body(this.about)), this.extra);
  }

  push(at, values) {
    this.history.push(at, values);
    this.about.series.forEach((series, i) => {
      show(this.cells[i][0], values[i] === null ? "–" : series.format(values[i]));
      show(this.cells[i][1], series.format(this.history.highest(i)));
    });
    if (this.plot) this.plot.setData(this.#data());
  }

  say(value, more, share) {
    show(this.value, value);
    show(this.more, more);
    if (this.meter) this.meter.value = share;
  }

  #data() {
    return this.about.stacked ? stacked(this.history.columns) : this.history.columns;
  }

  /** Anew, in the colours of the scheme. */
  draw() {
    if (this.plot) this.plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = name => style.getPropertyValue(name).trim();
    const {series, format, floor = 1, right, bytes} = this.about;
    const scale = least => ({range: (_, low, high) => [0, high === null || high < least ? least : high * 1.1]});
    const axis = more => ({
      stroke: colour("--soft"), font: "11px system-ui, sans-serif", gap: 4, ticks: {show: false},
      grid: {stroke: colour("--faint"), width: 1}, ...more,
    });
    const ticks = format => (_, values) => values.map(format);
    const options = {
      width: Math.max(this.box.clientWidth, 100), height: PLOT_PX, legend: {show: false}, padding: [6, right ? 4 : 24, 0, 0],
      cursor: {show: false}, select: {show: false},
      scales: {
        x: {time: true, range: (_, low, high) => [Math.min(low ?? 0, (high ?? 0) - LEAST_SECONDS), high ?? 0]},
        y: scale(floor), ...(right ? {right: scale(right.floor)} : {}),
      },
      axes: [
        axis({space: 80, size: 30, gap: 9, values: (_, times) => times.map(time => new Date(time * 1000).toLocaleTimeString([], CLOCK)), incrs: [15, 30, 60, 120], grid: {show: false}}),
        axis({size: 54, space: 34, values: ticks(format), ...(bytes ? {incrs: BINARY} : {})}),
        ...(right ? [axis({scale: "right", side: 1, size: 44, space: 34, values: ticks(right.format), grid: {show: false}})] : []),
      ],
      series: [{}, ...series.map((each, i) => {
        const stroke = colour(`--c${i + 1}`);
        this.swatches[i].style.backgroundColor = stroke;
        return {
          stroke, width: this.about.stacked ? 0 : 1.5, points: {show: false}, scale: each.right ? "right" : "y", ...(each.right ? {dash: [5, 3]} : {}),
          fill: this.about.stacked || (i === 0 && !right) ? `${stroke}${this.about.stacked ? "b8" : "22"}` : undefined,
        };
      })],
      bands: this.about.stacked ? series.slice(1).map((_, i) => ({series: [i + 2, i + 1]})) : [],
    };
    this.plot = new window.uPlot(options, this.#data(), this.box);
  }

  fit() {
    if (this.plot) this.plot.setSize({width: Math.max(this.box.clientWidth, 100), height: PLOT_PX});
  }
}
