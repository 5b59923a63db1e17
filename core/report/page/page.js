// What the page can do beyond its text: drawn cycles, treemap and sunburst, search, sorting, themes. The page is whole without it.
// Names come from a dump and are hostile. They reach the document through textContent and setAttribute alone: no innerHTML anywhere (a test looks).
import { hierarchy, partition, treemap } from "d3-hierarchy";
import { select } from "d3-selection";
import { arc } from "d3-shape";
import { zoom, zoomIdentity } from "d3-zoom";

const SVG = "http://www.w3.org/2000/svg";
// What could steer or mislead a reader is written as the page's text writes it (escape.h, Printable): U+202E in a name turns the rest of a label around.
const HIDDEN = /[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\ufeff\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufff9-\ufffb\u{e0000}-\u{e0fff}\p{Noncharacter_Code_Point}]/gu;
const escaped = (text) => {
  const hex = text.codePointAt(0).toString(16);
  return hex.length < 3 ? "\\x" + hex.padStart(2, "0") : hex.length < 5 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
};
const printable = (key, value) => (typeof value === "string" ? value.replace(HIDDEN, escaped) : value);
const data = JSON.parse(document.getElementById("data").textContent, printable).result;

function make(name, attributes, text) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
function draw(name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; ++i) n /= 1000;
  return (i === 0 || n >= 99.95 ? n.toFixed(0) : n.toFixed(1)) + " " + units[i];
}
const short = (text, length) => (text.length <= length ? text : text.slice(0, length - 1) + "…");
function facts(panel, rows) {
  panel.replaceChildren();
  const list = panel.appendChild(make("dl"));
  for (const [key, value] of rows) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", {}, key), make("dd", {}, String(value)));
  }
}
// A thing of a drawing that mouse and keyboard can use alike.
function usable(element, label, use) {
  element.setAttribute("tabindex", "0");
  element.setAttribute("role", "button");
  element.setAttribute("aria-label", label);
  element.addEventListener("click", use);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    use(event);
  });
}

// ---- theme

function themes() {
  const button = make("button", { type: "button", id: "theme" }, "Dark or light");
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  document.querySelector("nav").append(button);
}

// ---- cycles

const RADIUS = 150, NODE = 9;

function drawCycle(box, group) {
  const steps = group.cycle;
  const panel = make("div", { class: "facts", "aria-live": "polite" });
  // As wide as its place on a narrow screen, where the text would be too small to read otherwise.
  const width = Math.min(660, Math.max(300, box.clientWidth || 660)), across = Math.min(RADIUS * 1.25, width / 2 - 75);
  const svg = draw("svg", { viewBox: `${-width / 2} -210 ${width} 420`, role: "group", "aria-label": "the cycle as a drawing" });
  const view = svg.appendChild(draw("g"));
  const places = steps.map((_, i) => {
    const a = (2 * Math.PI * i) / steps.length - Math.PI / 2;
    return [across * Math.cos(a), RADIUS * Math.sin(a)];
  });
  const nodes = [];
  function choose(i) {
    nodes.forEach((n, k) => n.classList.toggle("chosen", k === i));
    const step = steps[i], next = steps[(i + 1) % steps.length];
    if (step.elided) return facts(panel, [["left out here", step.elided + " objects of the same kind"]]);
    facts(panel, [["type", step.type], ["name", step.name], ["address", step.address], ["refers by", step.label], ["to", next.elided ? "the next object" : next.type], ["ask", "pygc show " + step.address]]);
  }
  steps.forEach((step, i) => {
    const [x, y] = places[i], [u, v] = places[(i + 1) % steps.length];
    let path, lx, ly;
    if (steps.length === 1) {
      path = `M ${x - 6} ${y} C ${x - 90} ${y - 100}, ${x + 90} ${y - 100}, ${x + 6} ${y - NODE - 4}`;
      [lx, ly] = [x, y - 82];
    } else {
      const bend = steps.length === 2 ? 0.35 : 0.12;
      const [mx, my] = [(x + u) / 2 + (v - y) * -bend, (y + v) / 2 + (u - x) * bend];
      const length = Math.hypot(u - mx, v - my) || 1;
      path = `M ${x} ${y} Q ${mx} ${my} ${u - ((u - mx) / length) * (NODE + 5)} ${v - ((v - my) / length) * (NODE + 5)}`;
      [lx, ly] = [(x + u) / 4 + mx / 2, (y + v) / 4 + my / 2];
    }
    view.append(draw("path", { d: path, class: "edge", "marker-end": "url(#arrow)" }));
    view.append(draw("text", { x: lx, y: ly, class: "label" }, short(step.label || "", 24)));
  });
  steps.forEach((step, i) => {
    const [x, y] = places[i];
    const node = draw("g", { class: "node", transform: `translate(${x},${y})` });
    node.append(draw("circle", { r: NODE }));
    const name = step.elided ? `… ${step.elided} more` : short((step.type || "").split(".").pop() + (step.name ? " " + step.name : ""), 26);
    node.append(draw("text", { y: y < 0 ? -NODE - 5 : NODE + 15, class: "name" }, name));
    node.append(draw("title", {}, step.elided ? name : `${step.type} at ${step.address}`));
    usable(node, name, () => choose(i));
    node.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const next = (i + move + steps.length) % steps.length;
      choose(next);
      nodes[next].focus();
    });
    nodes.push(node);
    view.append(node);
  });
  const pan = zoom().scaleExtent([0.3, 8]).filter((event) => event.type !== "wheel" || event.ctrlKey || event.metaKey).on("zoom", (event) => view.setAttribute("transform", event.transform.toString()));
  const surface = select(svg).call(pan).on("dblclick.zoom", null);
  const bar = make("div", { class: "bar" });
  for (const [text, label, use] of [["+", "zoom in", () => surface.call(pan.scaleBy, 1.4)], ["−", "zoom out", () => surface.call(pan.scaleBy, 1 / 1.4)], ["1:1", "as at first", () => surface.call(pan.transform, zoomIdentity)]]) {
    const button = make("button", { type: "button", "aria-label": label }, text);
    button.addEventListener("click", use);
    bar.append(button);
  }
  box.append(bar, svg, panel);
  choose(0);
}

const drawings = [];     // one function for each group, which draws it where that was not done
function cycles() {
  document.querySelectorAll("[data-group]").forEach((box) => {
    const group = data.leaks.groups[Number(box.dataset.group)];
    if (!group || !group.cycle.length) return;
    const details = box.closest("details");
    const once = () => {
      if (details.open && !box.childElementCount) drawCycle(box, group);
    };
    drawings.push(once);
    details.addEventListener("toggle", once);
    once();
  });
}

// On paper nothing can be opened.
function printing() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => (details.open = true));
    drawings.forEach((draw) => draw());
  });
  addEventListener("afterprint", () => closed.forEach((details) => (details.open = false)));
}

// ---- who holds the memory

function holderTree() {
  const nodes = data.memory.nodes.map((n) => ({ ...n, children: [] }));
  const top = { type: "everything in use", name: null, address: null, retained: data.memory.bytes, size: 0, objects: data.memory.objects, children: [] };
  for (const n of nodes) (n.parent === null ? top : nodes[n.parent]).children.push(n);
  for (const n of [top, ...nodes]) {
    const rest = n.retained - n.children.reduce((sum, c) => sum + c.retained, 0);
    n.value = n.children.length ? 0 : n.retained;
    if (n.children.length && rest > 0) n.children.push({ type: "smaller parts", name: null, address: null, rest: true, retained: rest, value: rest, children: [] });
  }
  return top;
}
const titleOf = (d) => d.type + (d.name ? " " + d.name : "");
// In a small box the place says more than "dict".
const labelOf = (d) => (d.path ? d.path.replace(/^sys\.modules\['([^']*)'\](\.__dict__$)?/, "$1") : titleOf(d));
const hue = (text) => {
  let h = 0;
  for (const c of text) h = (h * 31 + c.codePointAt(0)) >>> 0;
  return h % 360;
};

function memory() {
  const box = document.getElementById("map");
  if (!data.memory || !data.memory.nodes.length) return;
  const whole = hierarchy(holderTree()).sum((d) => d.value || 0).sort((a, b) => b.value - a.value);
  const panel = make("div", { class: "facts", "aria-live": "polite" }), crumbs = make("div", { class: "crumbs" });
  const width = Math.min(960, Math.max(320, box.clientWidth || 960));
  const svg = draw("svg", { viewBox: `0 0 ${width} 480`, role: "group", "aria-label": "who holds the memory" });
  const bar = make("div", { class: "bar" });
  const kind = make("button", { type: "button", id: "kind" }, "Sunburst");
  bar.append(kind, crumbs);
  box.append(bar, svg, panel);
  let at = whole, round = false;

  function tell(node) {
    const d = node.data;
    const path = node.ancestors().map((a) => a.data).find((a) => a.path);
    facts(panel, [["object", titleOf(d)], ["address", d.address], ["keeps alive", bytes(d.retained) + (d.objects ? ` in ${d.objects.toLocaleString("en")} objects` : "")], ["of its own", d.size === undefined ? "" : bytes(d.size)],
      ["share", ((100 * d.retained) / Math.max(1, data.memory.bytes)).toFixed(1) + " %"], [d.path ? "held by" : "inside", path ? path.path : ""]]);
  }
  function enter(node) {
    if (node.children) {
      at = node;
      show();
    }
    tell(node);
  }
  // Of hundreds of pieces one is a stop of the Tab key; arrows go from one to the next.
  function stop(g) {
    svg.querySelectorAll("[tabindex='0']").forEach((other) => other.setAttribute("tabindex", "-1"));
    if (g) g.setAttribute("tabindex", "0");
  }
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!move) return;
    event.preventDefault();
    const pieces = [...svg.querySelectorAll(".piece")];
    pieces[Math.max(0, Math.min(pieces.length - 1, pieces.indexOf(event.target) + move))].focus();
  });
  function piece(node, shape, label) {
    const g = draw("g", { class: "piece" });
    shape.setAttribute("style", `--hue:${hue(node.data.type)}`);
    shape.classList.add("fill");
    if (node.data.rest) shape.classList.add("rest");
    g.append(shape, draw("title", {}, `${titleOf(node.data)}: ${bytes(node.data.retained)}`));
    if (label) g.append(label);
    usable(g, `${titleOf(node.data)}, ${bytes(node.data.retained)}`, () => enter(node));
    g.setAttribute("tabindex", "-1");
    g.addEventListener("focus", () => {
      stop(g);
      tell(node);
    });
    return g;
  }
  function showMap() {
    const copy = treemap().size([width, 480]).paddingInner(1).paddingTop((n) => (n.depth === 0 ? 0 : 16)).round(true)(at.copy());
    const originals = at.descendants();
    copy.descendants().forEach((n, i) => {
      if (n.depth === 0 || n.depth > 2 || n.x1 - n.x0 < 1 || n.y1 - n.y0 < 1) return;
      const shape = draw("rect", { x: n.x0, y: n.y0, width: n.x1 - n.x0, height: n.y1 - n.y0 });
      const room = Math.floor((n.x1 - n.x0 - 6) / 6.6);
      const label = room >= 4 && n.y1 - n.y0 >= 14 ? draw("text", { x: n.x0 + 4, y: n.y0 + 12 }, short(bytes(n.data.retained) + " " + labelOf(n.data), room)) : null;
      svg.append(piece(originals[i], shape, label));
    });
  }
  function showBurst() {
    const rings = 4, step = 230 / rings;
    const copy = partition().size([2 * Math.PI, at.height + 1])(at.copy());
    const originals = at.descendants();
    const slice = arc().startAngle((n) => n.x0).endAngle((n) => n.x1).innerRadius((n) => (n.depth - 1) * step + 40).outerRadius((n) => n.depth * step + 39);
    const middle = svg.appendChild(draw("g", { transform: `translate(${width / 2},240) scale(${Math.min(0.86, width / 544)})` }));
    copy.descendants().forEach((n, i) => {
      if (n.depth === 0 || n.depth > rings || n.x1 - n.x0 < 0.004) return;
      const border = Math.min(1, ((n.x1 - n.x0) * ((n.depth - 1) * step + 40)) / 4);   // a thin slice is not all border
      middle.append(piece(originals[i], draw("path", { d: slice(n), "stroke-width": border.toFixed(2) }), null));
    });
  }
  function show() {
    svg.replaceChildren();
    crumbs.replaceChildren();
    at.ancestors().reverse().forEach((node) => {
      const button = make("button", { type: "button" }, short(labelOf(node.data), 40));
      button.addEventListener("click", () => enter(node));
      crumbs.append(button);
    });
    round ? showBurst() : showMap();
    stop(svg.querySelector(".piece"));
  }
  kind.addEventListener("click", () => {
    round = !round;
    kind.textContent = round ? "Treemap" : "Sunburst";
    show();
  });
  box.addEventListener("keydown", (event) => {
    if ((event.key !== "Escape" && event.key !== "Backspace") || !at.parent) return;
    event.preventDefault();
    enter(at.parent);
    const first = svg.querySelector(".piece");
    if (first) first.focus();
  });
  show();
  tell(whole);
}

// ---- histogram

function histogram() {
  const table = document.getElementById("types");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const search = make("input", { type: "search", id: "search", placeholder: "part of a type's name", "aria-label": "search types" });
  const found = make("span", { role: "status", class: "found" });
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    let n = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      n += row.hidden ? 0 : 1;
    }
    found.textContent = wanted ? `${n} of ${rows.length} types` : "";
  });
  const bar = make("div", { class: "bar" });
  bar.append(search, found);
  table.before(bar);
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = make("button", { type: "button" }, cell.textContent);
    cell.replaceChildren(button);
    let up = column === 0 ? -1 : 1;
    button.addEventListener("click", () => {
      up = -up;
      const key = (row) => (column === 0 ? row.cells[0].textContent : Number(row.cells[column].dataset.n));
      rows.sort((a, b) => (key(a) < key(b) ? -up : key(a) > key(b) ? up : 0));
      [...table.tHead.rows[0].cells].forEach((c) => c.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}

const defs = draw("svg", { width: 0, height: 0, "aria-hidden": "true", class: "defs" });
const marker = draw("marker", { id: "arrow", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
marker.append(draw("path", { d: "M 0 0 L 10 5 L 0 10 z", class: "tip" }));
defs.appendChild(draw("defs")).append(marker);
document.body.append(defs);
themes();
cycles();
printing();
memory();
histogram();
document.documentElement.dataset.ready = "1";
