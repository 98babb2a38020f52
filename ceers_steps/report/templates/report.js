"use strict";
// Marks of the review stay in the browser, under the folder of the survey.
const key = "ceers review " + document.body.dataset.survey;
const load = () => { try { return JSON.parse(localStorage.getItem(key)) || {}; } catch { return {}; } };
const save = marks => localStorage.setItem(key, JSON.stringify(marks));
const numbers = ["wisp_scale", "mask_threshold"];
const flags = ["skip_wispsub", "skip_remstriping", "skip_snowball", "exclude"];

function ecsv(marks) {
  const used = [...numbers, ...flags, "note"].filter(
    name => Object.values(marks).some(row => row[name] !== undefined && name in row));
  const kind = name => name === "note" ? "string" : numbers.includes(name) ? "float64" : "bool";
  const quoted = text => '"' + String(text).replace(/[\r\n]+/g, " ").replaceAll('"', '""') + '"';
  const cell = (value, name) => value === undefined ? '""' : flags.includes(name) ? "True"
    : numbers.includes(name) ? String(value) : quoted(value);
  const head = ["%ECSV 1.0", "---", "datatype:", "- {name: exposure, datatype: string}",
    ...used.map(name => `- {name: ${name}, datatype: ${kind(name)}}`), "schema: astropy-2.0"];
  const rows = Object.keys(marks).sort().filter(name => used.some(column => column in marks[name]));
  return [...head.map(line => "# " + line), ["exposure", ...used].join(" "),
    ...rows.map(name => [name, ...used.map(column => cell(marks[name][column], column))].join(" "))
  ].join("\n") + "\n";
}

function overview(table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const marks = load();
  for (const row of body.rows) {
    const mark = marks[row.dataset.name] || {};
    row.querySelector(".review").textContent = Object.keys(mark).filter(name => name !== "note")
      .map(name => numbers.includes(name) ? `${name} ${mark[name]}` : name).join(", ") || (mark.note ? "note" : "");
  }
  document.getElementById("reviewed").textContent =
    `${Object.keys(marks).length} of ${body.rows.length} reviewed`;
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const value = row => head.dataset.number ? row.cells[i].dataset.value : row.cells[i].textContent.trim();
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);  // what is unknown stands last
      return sign * (head.dataset.number ? x - y : x.localeCompare(y));
    };
    body.append(...[...body.rows].sort(order));
  }));
  const search = document.getElementById("search"), only = document.getElementById("only");
  const filter = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/);
    for (const row of body.rows) {
      const text = [row.dataset.name, row.dataset.detector, row.cells[1].textContent,
        row.cells[2].textContent].join(" ").toLowerCase();
      row.hidden = (only.checked && !("marked" in row.dataset)) || !words.every(word => text.includes(word));
    }
  };
  search.addEventListener("input", filter);
  only.addEventListener("change", filter);
  document.getElementById("export").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([ecsv(load())], {type: "text/plain"}));
    link.download = "overrides.ecsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function exposure(name) {
  const form = document.getElementById("review"), fields = [...form.elements].filter(field => field.name);
  const show = () => {
    const mark = load()[name] || {};
    for (const field of fields) {
      if (field.type === "checkbox") field.checked = Boolean(mark[field.name]);
      else field.value = mark[field.name] ?? "";
    }
  };
  const keep = () => {
    const marks = load(), mark = {};
    for (const field of fields) {
      if (field.type === "checkbox") { if (field.checked) mark[field.name] = true; }
      else if (field.value.trim() && field.checkValidity())
        mark[field.name] = field.type === "number" ? Number(field.value) : field.value.trim();
    }
    if (Object.keys(mark).length) marks[name] = mark; else delete marks[name];
    save(marks);
  };
  show();
  form.addEventListener("input", keep);
  form.addEventListener("submit", event => event.preventDefault());

  const frames = [...document.querySelectorAll(".frame")], buttons = [...document.querySelectorAll(".state")];
  let now = frames.length - 1, timer = 0;
  const choose = i => {
    now = i;
    frames.forEach((frame, j) => { frame.hidden = j !== i; });
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", j === i));
  };
  if (frames.length) choose(now);
  buttons.forEach((button, i) => button.addEventListener("click", () => choose(i)));
  const blink = document.getElementById("blink");
  blink?.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = 0; }
    else timer = setInterval(() => choose((now + 1) % frames.length), 700);
    blink.setAttribute("aria-pressed", Boolean(timer));
  });

  const outlines = document.getElementById("outlines");
  const outline = () => document.querySelector(".blink .over").toggleAttribute("hidden", !outlines.checked);
  outlines?.addEventListener("change", outline);

  const slider = document.getElementById("slider");
  if (slider) {
    const canvas = document.getElementById("tried"), context = canvas.getContext("2d", {willReadFrequently: true});
    const pixels = image => {
      canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    };
    Promise.all([frames[0], document.getElementById("wisp")].map(image => image.decode())).then(() => {
      const wisp = pixels(document.getElementById("wisp")).data, before = pixels(frames[0]);
      const {scale, low, high} = Object.fromEntries(Object.entries(slider.dataset).map(([n, v]) => [n, +v]));
      const draw = () => {
        const factor = slider.value / scale, out = new ImageData(before.width, before.height);
        for (let i = 0; i < wisp.length; i += 4) {
          const grey = before.data[i] - factor * (255 * low + wisp[i] * (high - low));
          out.data[i] = out.data[i + 1] = out.data[i + 2] = grey; out.data[i + 3] = 255;
        }
        context.putImageData(out, 0, 0);
        document.getElementById("scale").textContent = (+slider.value).toFixed(3);
        canvas.dataset.drawn = slider.value;
      };
      slider.addEventListener("input", draw);
      draw();
    });
    document.getElementById("take").addEventListener("click", () => {
      form.elements.wisp_scale.value = slider.value; keep();
    });
  }
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("textarea, input[type=number], input[type=range]")) return;
    const box = {a: "accept", x: "exclude", w: "skip_wispsub", s: "skip_remstriping"}[event.key];
    if (box) { form.elements[box].checked = !form.elements[box].checked; keep(); }
    else if (event.key === "n") document.getElementById("after")?.click();
    else if (event.key === "p") document.getElementById("before")?.click();
    else if (event.key === "b") blink?.click();
    else if (event.key === "o") outlines?.click();
  });
}

const table = document.getElementById("exposures");
if (table) overview(table);
if (document.body.dataset.exposure) exposure(document.body.dataset.exposure);
