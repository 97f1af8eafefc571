"use strict";
// What a page can do beyond being read: a switch of colours, tables that sort and filter, values
// under the pointer. Without script all of it is there to be read.
const root = document.documentElement;
const THEMES = ["auto", "light", "dark"];
const stored = { get: () => { try { return localStorage.getItem("gptjax-theme"); } catch { return null; } },
  set: (name) => { try { localStorage.setItem("gptjax-theme", name); } catch { /* a file may not */ } } };
const wear = (name) => { if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name; };
let theme = THEMES.includes(stored.get()) ? stored.get() : "auto";
wear(theme);

// Texts in the order of the numbers in them, as the page was written.
const NUMBER = /(\d+(?:\.\d+)?(?:e-?\d+)?)/;
function natural(a, b) {
  const one = a.toLowerCase().split(NUMBER), other = b.toLowerCase().split(NUMBER);
  for (let i = 0; i < Math.min(one.length, other.length); i++) {
    const order = i % 2 ? one[i] - other[i] : one[i] < other[i] ? -1 : one[i] > other[i] ? 1 : 0;
    if (order) return order;
  }
  return one.length - other.length || (a < b ? -1 : a > b ? 1 : 0);
}

function sort(table, column, down) {
  const cell = (row) => row.cells[column];
  const text = (row) => cell(row).textContent.trim();
  const known = (row) => cell(row).dataset.v !== undefined;
  const numeric = table.tHead.rows[0].cells[column].classList.contains("number");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    if (!numeric) return (down ? -1 : 1) * natural(text(a), text(b));
    if (known(a) !== known(b)) return known(a) ? -1 : 1;  // no value comes last
    return known(a) ? (down ? -1 : 1) * (cell(a).dataset.v - cell(b).dataset.v) : 0;
  });
  table.tBodies[0].append(...rows);
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      // Numbers begin with the largest, names with the first.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      sort(table, column, next === "descending");
    };
  });
}

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  const box = document.createElement("label"), input = document.createElement("input");
  const count = document.createElement("span");
  box.className = "filter";
  input.type = "search";
  input.placeholder = "show rows with …";
  input.setAttribute("aria-label", "show rows with these words");
  input.oninput = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  };
  input.oninput();
  box.append(input, count);
  table.closest(".scroll").before(box);
}

function tips() {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const told = (target) => {
    const mark = target instanceof Element ? target.closest("figure svg *") : null;
    const title = mark && mark.querySelector(":scope > title");
    if (title) { mark.dataset.tip = title.textContent; title.remove(); }  // or the browser shows it, too
    return mark ? mark.dataset.tip : undefined;
  };
  const show = (event) => {
    const text = told(event.target);
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 12, innerWidth - box.width - 8);
    const above = event.clientY - box.height - 12;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${above > 4 ? above : event.clientY + 18}px`;
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
}

// A link into what is folded away opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  target.scrollIntoView();
}

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = `Colours: ${theme}`; };
  button.hidden = false;
  button.onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    wear(theme);
    stored.set(theme);
    name();
  };
  name();
  document.body.classList.add("sorts");
  for (const table of document.querySelectorAll("figure.table table")) {
    if (table.tBodies[0].rows.length > 1) sortable(table);
    if (table.tBodies[0].rows.length > 6) filterable(table);
  }
  tips();
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
});
