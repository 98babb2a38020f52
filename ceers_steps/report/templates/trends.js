"use strict";
// Trends of the first page, drawn from the table of exposures.
(() => {
const table = document.getElementById("exposures"), known = document.getElementById("colours");
if (!table || !known) return;
const colours = JSON.parse(known.textContent), ns = "http://www.w3.org/2000/svg";
const LEFT = 60, WIDE = 350, TOP = 12, HIGH = 158;

const median = values => { const s = [...values].sort((a, b) => a - b), m = s.length >> 1; return s.length % 2 ? s[m] : (s[m - 1] + s[m]) / 2; };
const day = mjd => new Date(86400000 * (mjd - 40587)).toISOString().slice(0, 10);

function read(panel) {
  const {metric, by} = panel.dataset, per = "perTime" in panel.dataset;
  return [...table.tBodies[0].rows].map(row => {
    const cell = row.querySelector(`[data-metric="${metric}"]`), seconds = +row.dataset.seconds;
    const value = cell && cell.dataset.value !== undefined ? +cell.dataset.value : NaN;
    return {name: row.dataset.name, filter: row.dataset.filter, off: cell?.classList.contains("off"),
      group: by === "time" ? "" : row.dataset[by], x: by === "time" ? (row.dataset.mjd ? +row.dataset.mjd : NaN) : 0,
      y: per ? (seconds > 0 ? 1000 * value / seconds : NaN) : value};
  }).filter(point => isFinite(point.x) && isFinite(point.y));
}

function trend(panel) {
  const points = read(panel), time = panel.dataset.by === "time";
  if (!points.length) { panel.textContent = "nothing measured"; return; }
  const ys = points.map(point => point.y), low = Math.min(...ys), high = Math.max(...ys), span = high - low || 1;
  const groups = [...new Set(points.map(point => point.group))].sort();
  const svg = document.createElementNS(ns, "svg");
  const add = (kind, values, text, parent = svg) => {
    const item = document.createElementNS(ns, kind);
    for (const [name, value] of Object.entries(values)) item.setAttribute(name, value);
    if (text !== undefined) item.textContent = text;
    parent.append(item); return item;
  };
  svg.setAttribute("viewBox", "0 0 420 210"); svg.setAttribute("role", "img");
  const y = value => TOP + HIGH * (high > low ? (high - value) / span : .5);
  add("text", {x: LEFT - 6, y: TOP + 4, "text-anchor": "end"}, high.toPrecision(3));
  if (high > low) add("text", {x: LEFT - 6, y: TOP + HIGH + 4, "text-anchor": "end"}, low.toPrecision(3));
  add("line", {x1: LEFT, x2: LEFT + WIDE, y1: TOP + HIGH + 8, y2: TOP + HIGH + 8});
  let place;
  if (time) {
    const xs = points.map(point => point.x), first = Math.min(...xs), last = Math.max(...xs);
    place = point => LEFT + 8 + (WIDE - 16) * (last > first ? (point.x - first) / (last - first) : .5);
    add("text", {x: LEFT, y: 200}, day(first));
    if (day(last) !== day(first)) add("text", {x: LEFT + WIDE, y: 200, "text-anchor": "end"}, day(last));
  } else {
    const wide = WIDE / groups.length, every = Math.ceil(groups.length / 8);
    const shared = groups.length > 1 && panel.dataset.by === "visit" && groups.every(group => group.slice(0, 5) === groups[0].slice(0, 5));
    const label = group => panel.dataset.by === "detector" ? group.replace("NRC", "")
      : shared ? `${group.slice(5, 8)}/${group.slice(8)}` : group;
    const seen = new Map(), size = group => points.filter(point => point.group === group).length;
    const sizes = new Map(groups.map(group => [group, size(group)]));
    groups.forEach((group, i) => {
      if (i) add("line", {x1: LEFT + i * wide, x2: LEFT + i * wide, y1: TOP - 4, y2: TOP + HIGH + 8});
      if (i % every === 0) add("text", {x: LEFT + (i + .5) * wide, y: 200, "text-anchor": "middle"}, label(group));
    });
    place = point => {
      const n = (seen.get(point.group) || 0) + 1;
      seen.set(point.group, n);
      return LEFT + wide * (groups.indexOf(point.group) + n / (sizes.get(point.group) + 1));
    };
  }
  const heading = panel.closest(".card")?.querySelector("h3")?.textContent || panel.dataset.metric;
  const lines = groups.slice(0, 12).map(group => {
    const mine = points.filter(point => point.group === group).map(point => point.y);
    return `${group ? group + " " : ""}median ${median(mine).toPrecision(4)} of ${mine.length}`;
  });
  svg.setAttribute("aria-label", `${heading}: ${low.toPrecision(4)} to ${high.toPrecision(4)}; ${lines.join("; ")}`);
  for (const point of points) {
    const dot = add("circle", {cx: place(point).toFixed(1), cy: y(point.y).toFixed(1), r: point.off ? 4.5 : 3});
    if (colours[point.filter]) dot.style.fill = colours[point.filter];
    if (point.off) dot.setAttribute("class", "off");
    add("title", {}, `${point.name} ${point.filter}: ${point.y.toPrecision(5)}${point.off ? ", marked" : ""}`, dot);
  }
  panel.append(svg);
}
document.querySelectorAll(".trend").forEach(trend);
})();
