"use strict";
// Mosaics to zoom in: tiles on a canvas, footprints above them. No request but for pictures here.
(() => {
const source = document.getElementById("pictures");
if (!source) return;
const {frames, pictures, colours} = JSON.parse(source.textContent);
const $ = id => document.getElementById(id);
const view = $("view"), canvas = view.querySelector("canvas"), over = view.querySelector("svg");
const context = canvas.getContext("2d"), kindSelect = $("kind"), pictureSelect = $("picture");
const TILE = 512, tiles = new Map(), boxes = [...document.querySelectorAll("input[data-filter]")];
let picture = pictures[0], kind = "image", cx = 0, cy = 0, k = 1, planned = false, entire = true;

const frame = () => frames[picture.frame];
const width = () => view.clientWidth, height = () => view.clientHeight;
const whole = () => Math.min(width() / frame().nx, height() / frame().ny);
const busy = is => view.setAttribute("aria-busy", is);  // something is still to be drawn
const plan = () => { busy(true); if (!planned) { planned = true; requestAnimationFrame(draw); } };

// a picture is asked for once; of those not seen for long the oldest are forgotten
function tile(url) {
  let image = tiles.get(url);
  if (image) { tiles.delete(url); tiles.set(url, image); return image; }
  image = new Image();
  image.onload = plan;
  image.onerror = () => { image.failed = true; plan(); };
  image.src = url;
  tiles.set(url, image);
  if (tiles.size > 400) tiles.delete(tiles.keys().next().value);
  return image;
}
const ready = image => image.complete && !image.failed && image.naturalWidth > 0;

function draw() {
  planned = false;
  const ratio = window.devicePixelRatio || 1, w = width(), h = height();
  if (!w || !h) { busy(false); return; }
  canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  const scale = k * ratio, x0 = canvas.width / 2 - cx * scale, y0 = canvas.height / 2 - cy * scale;
  const put = (image, x, y, wide, high) => {
    // whole pixels of the screen, so that no line is left between tiles
    const left = Math.round(x0 + x * scale), top = Math.round(y0 + y * scale);
    const right = Math.round(x0 + (x + wide) * scale), bottom = Math.round(y0 + (y + high) * scale);
    context.drawImage(image, left, top, right - left, bottom - top);
  };
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  let waits = 0;
  if (kind === "image") {
    const last = picture.levels.length - 1;
    const wanted = Math.min(last, Math.max(0, Math.floor(Math.log2(1.001 / (scale * picture.factor)))));
    for (let number = last; number >= wanted; number--) {
      const level = picture.levels[number], f = picture.factor * 2 ** number;
      const top = frame().ny - level.h * f, columns = Math.ceil(level.w / TILE), step = TILE * f;
      const rows = Math.ceil(level.h / TILE), end = limit => Math.max(0, Math.floor(limit / step));
      context.imageSmoothingEnabled = f * scale < 3;
      for (let row = end(-y0 / scale - top); row < rows && row * step + top < (canvas.height - y0) / scale; row++)
        for (let column = end(-x0 / scale); column < columns && column * step < (canvas.width - x0) / scale; column++) {
          if (level.has[row * columns + column] !== "1") continue;
          const url = `${picture.base}/${number}/${row}-${column}.jpg`;
          // coarser ones only stand in for what is not there yet
          if (number > wanted && number < last && !tiles.has(url)) continue;
          const image = tile(url);
          if (ready(image)) put(image, column * step, top + row * step, image.naturalWidth * f, image.naturalHeight * f);
          else if (!image.failed) waits++;
        }
    }
    view.dataset.level = wanted;
  } else {
    const map = picture[kind], image = tile(`${picture.base}/${kind}.png`);
    context.imageSmoothingEnabled = false;
    if (ready(image)) put(image, 0, frame().ny - map.h, map.w, map.h); else if (!image.failed) waits++;
  }
  over.setAttribute("viewBox", `${cx - w / k / 2} ${cy - h / k / 2} ${w / k} ${h / k}`);
  view.dataset.scale = k;
  busy(waits > 0);
}

// degrees of a pixel that counts from the top left corner; null where it is not known
function sky(x, y) {
  const {crval, crpix, cd, ny} = frame();
  if (!crval) return null;
  const u = x - .5 - crpix[0], v = ny - .5 - y - crpix[1], rad = Math.PI / 180;
  const xi = (cd[0][0] * u + cd[0][1] * v) * rad, eta = (cd[1][0] * u + cd[1][1] * v) * rad;
  const d0 = crval[1] * rad, down = Math.cos(d0) - eta * Math.sin(d0);
  const ra = crval[0] + Math.atan2(xi, down) / rad;
  return [(ra + 360) % 360, Math.atan((Math.sin(d0) + eta * Math.cos(d0)) / Math.hypot(xi, down)) / rad];
}
function pixel([ra, dec]) {
  const {crval, crpix, cd, ny} = frame(), rad = Math.PI / 180;
  const d = dec * rad, d0 = crval[1] * rad, a = (ra - crval[0]) * rad;
  const under = Math.sin(d) * Math.sin(d0) + Math.cos(d) * Math.cos(d0) * Math.cos(a);
  const xi = Math.cos(d) * Math.sin(a) / under / rad;
  const eta = (Math.sin(d) * Math.cos(d0) - Math.cos(d) * Math.sin(d0) * Math.cos(a)) / under / rad;
  const det = cd[0][0] * cd[1][1] - cd[0][1] * cd[1][0];
  const u = (cd[1][1] * xi - cd[0][1] * eta) / det, v = (cd[0][0] * eta - cd[1][0] * xi) / det;
  return [u + crpix[0] + .5, ny - .5 - v - crpix[1]];
}
// side of a pixel, arcsec; 1 where it is not known
const arcsec = () => { const c = frame().cd; return !c ? 1 : 3600 * Math.sqrt(Math.abs(c[0][0] * c[1][1] - c[0][1] * c[1][0])); };

function words(x, y) {
  const place = sky(x, y), at = `x ${x.toFixed(0)}, y ${(frame().ny - y).toFixed(0)}`;
  return place ? `RA ${place[0].toFixed(5)}°, Dec ${place[1].toFixed(5)}° (${at})` : at;
}
function say() {  // for those who use the keys, and who listen
  $("said").textContent = `${Math.round(100 * k)}% of full size, middle at ${words(cx, cy)}`;
}

const shown = () => new Set(boxes.filter(box => box.checked).map(box => box.dataset.filter));
function feet() {
  const filters = shown();
  over.replaceChildren(...frame().feet.filter(foot => filters.has(foot.f)).map(foot => {
    const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    polygon.setAttribute("points", foot.p.join(" "));
    polygon.setAttribute("stroke", colours[foot.f]);
    return polygon;
  }));
  for (const group of document.querySelectorAll(".skymap g[data-filter]"))
    group.classList.toggle("off", !filters.has(group.dataset.filter));
}
function inside(points, x, y) {
  let found = false;
  for (let i = 0, j = points.length - 2; i < points.length; j = i, i += 2)
    if ((points[i + 1] > y) !== (points[j + 1] > y) &&
        x < (points[j] - points[i]) * (y - points[i + 1]) / (points[j + 1] - points[i + 1]) + points[i]) found = !found;
  return found;
}
function here(x, y) {
  const filters = shown(), line = $("here");
  const found = frame().feet.filter(foot => filters.has(foot.f) && inside(foot.p, x, y));
  line.textContent = found.length ? `${found.length} exposure(s) at ${words(x, y)}: ` : `No footprint shown at ${words(x, y)}.`;
  found.forEach((foot, i) => {
    const link = document.createElement("a");
    link.href = `exposures/${encodeURIComponent(foot.n)}.html`; link.textContent = foot.n;
    line.append(i ? ", " : "", link);
  });
}

function legend() {
  const map = picture[kind], box = $("legend");
  box.hidden = kind === "image";
  if (box.hidden) return;
  const [low, high] = [map.low, map.high].map(value => kind === "depth" ? value.toFixed(2) : value.toFixed(0));
  box.querySelector(".low").textContent = low;
  box.querySelector(".high").textContent = kind === "depth" ? `${high} mag AB, 5 sigma in an aperture of 0.2″`
    : `${high} s, from the ${map.origin}`;
}
function fit() { k = whole(); cx = frame().nx / 2; cy = frame().ny / 2; entire = true; plan(); }
function choose(name, wanted = kind) {
  const before = frame(), place = sky(cx, cy), size = k / arcsec(), all = Math.abs(k / whole() - 1) < 1e-6;
  picture = pictures.find(each => each.name === name) || pictures[0];
  kind = picture[wanted] ? wanted : "image";
  pictureSelect.value = picture.name; kindSelect.value = kind;
  for (const option of kindSelect.options) option.disabled = option.value !== "image" && !picture[option.value];
  if (frame() !== before) {  // the same place on the sky, if it is in this one
    fit();
    if (place && frame().crval && !all) {
      const [x, y] = pixel(place);
      if (x > 0 && y > 0 && x < frame().nx && y < frame().ny) { k = size * arcsec(); [cx, cy] = [x, y]; entire = false; }
    }
  }
  view.setAttribute("aria-label", `${picture.title}, ${kindSelect.selectedOptions[0].textContent}. ` +
    "Arrow keys move, plus and minus zoom, 0 shows all of it, 1 its full size, [ and ] another mosaic.");
  view.dataset.picture = picture.name; view.dataset.kind = kind;
  legend(); feet(); plan();
}

function zoom(factor, x = width() / 2, y = height() / 2) {
  const after = Math.min(16, Math.max(whole() / 2, k * factor));
  cx += (x - width() / 2) * (1 / k - 1 / after);
  cy += (y - height() / 2) * (1 / k - 1 / after);
  k = after; entire = false; plan();
}
function move(dx, dy) {
  cx = Math.min(frame().nx, Math.max(0, cx + dx / k));
  cy = Math.min(frame().ny, Math.max(0, cy + dy / k));
  entire = false; plan();
}
function next(step) {
  const at = pictures.indexOf(picture);
  choose(pictures[(at + step + pictures.length) % pictures.length].name);
}

const fingers = new Map();
let moved = 0;
const at = event => { const box = view.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const spot = ([x, y]) => [cx + (x - width() / 2) / k, cy + (y - height() / 2) / k];
view.addEventListener("pointerdown", event => {
  if (event.button) return;
  view.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, at(event)); moved = fingers.size > 1 ? 99 : 0;
});
view.addEventListener("pointermove", event => {
  const now = at(event), before = fingers.get(event.pointerId);
  $("where").textContent = words(...spot(now));
  if (!before) return;
  const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
  if (fingers.size === 1) move(-dx, -dy);
  else {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const apart = place => Math.hypot(place[0] - other[0], place[1] - other[1]);
    zoom(apart(now) / Math.max(apart(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    move(-dx / 2, -dy / 2);
  }
  moved += Math.hypot(dx, dy);
  fingers.set(event.pointerId, now);
});
for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, event => {
  if (fingers.delete(event.pointerId) && name === "pointerup" && moved < 4) here(...spot(at(event)));
});
view.addEventListener("dblclick", event => zoom(2, ...at(event)));
view.addEventListener("wheel", event => {  // the page goes on to scroll until somebody works here
  if (document.activeElement !== view && !event.ctrlKey) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? .05 : .002)), ...at(event));
}, {passive: false});
view.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = Math.min(width(), height()) / 6;
  const does = {ArrowLeft: () => move(-by, 0), ArrowRight: () => move(by, 0), ArrowUp: () => move(0, -by),
    ArrowDown: () => move(0, by), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
    0: fit, 1: () => zoom(1 / k), "[": () => next(-1), "]": () => next(1)}[event.key];
  if (!does) return;
  event.preventDefault(); does(); say();
});
$("closer").addEventListener("click", () => { zoom(1.5); say(); });
$("further").addEventListener("click", () => { zoom(1 / 1.5); say(); });
$("all").addEventListener("click", () => { fit(); say(); });
$("full").addEventListener("click", () => { zoom(1 / k); say(); });
pictureSelect.addEventListener("change", () => choose(pictureSelect.value));
kindSelect.addEventListener("change", () => choose(picture.name, kindSelect.value));
boxes.forEach(box => box.addEventListener("change", feet));
for (const button of document.querySelectorAll("[data-picture][data-kind]")) {
  if (button === view) continue;
  button.addEventListener("click", () => {
    choose(button.dataset.picture, button.dataset.kind);
    view.scrollIntoView({block: "center"}); view.focus({preventScroll: true});
  });
}
const sights = $("sights");
sights?.addEventListener("change", () => {
  for (const image of document.querySelectorAll(".skymap image"))
    image.classList.toggle("off", image.dataset.filter !== sights.value);
});
// a mosaic that is shown as a whole stays whole in a window of another size
new ResizeObserver(() => { if (entire && width()) fit(); else plan(); }).observe(view);
choose(picture.name);
})();
