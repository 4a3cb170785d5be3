"use strict";
// Sorting, filtering and opening of the items. Without scripts everything is shown, unsorted.
(() => {
  const table = document.getElementById("items");
  if (!table) return;
  document.documentElement.classList.add("js");
  const bodies = Array.from(table.tBodies);
  const headers = Array.from(table.tHead.querySelectorAll("th[data-key]"));
  const tiles = Array.from(document.querySelectorAll(".tile"));
  const search = document.getElementById("search");
  const medium = document.getElementById("medium");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const all = document.getElementById("all");

  const value = (body, key) => {
    const text = body.dataset[key];
    return key === "name" || key === "why" || key === "kind" ? text : Number(text);
  };
  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;

  function sort(header) {
    const key = header.dataset.key;
    const up = header.getAttribute("aria-sort")
      ? header.getAttribute("aria-sort") !== "ascending"
      : header.dataset.first !== "descending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const sign = up ? 1 : -1;
    bodies.sort((a, b) => sign * compare(value(a, key), value(b, key)) || a.dataset.place - b.dataset.place);
    bodies.forEach((body) => table.appendChild(body));
  }

  function filter() {
    const wanted = new Set(tiles.filter((t) => t.getAttribute("aria-pressed") === "true").map((t) => t.dataset.outcome));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const body of bodies) {
      const text = (body.dataset.name + " " + body.dataset.why).toLowerCase();
      const fits = wanted.has(body.dataset.outcome)
        && (!medium.value || body.dataset.kind === medium.value)
        && words.every((word) => text.includes(word));
      body.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = count === bodies.length ? `${count} items` : `${count} of ${bodies.length} items`;
    none.hidden = count > 0;
  }

  function open(body, wanted) {
    body.classList.toggle("open", wanted);
    body.querySelector("button.name").setAttribute("aria-expanded", String(wanted));
  }

  headers.forEach((header) => header.querySelector("button").addEventListener("click", () => sort(header)));
  tiles.forEach((tile) => {
    tile.disabled = false;
    tile.addEventListener("click", () => {
      // The first click on a tile shows only its items; further clicks add and take away.
      const every = tiles.every((t) => t.getAttribute("aria-pressed") === "true");
      if (every) tiles.forEach((t) => t.setAttribute("aria-pressed", String(t === tile)));
      else tile.setAttribute("aria-pressed", String(tile.getAttribute("aria-pressed") !== "true"));
      if (tiles.every((t) => t.getAttribute("aria-pressed") === "false")) {
        tiles.forEach((t) => t.setAttribute("aria-pressed", "true"));
      }
      filter();
    });
  });
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tr.row");
    if (!row || window.getSelection().toString()) return;
    const body = row.parentElement;
    open(body, !body.classList.contains("open"));
  });
  all.addEventListener("click", () => {
    const wanted = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(wanted));
    all.textContent = wanted ? "Close all" : "Open all";
    bodies.forEach((body) => open(body, wanted));
  });
  search.addEventListener("input", filter);
  medium.addEventListener("change", filter);
  document.getElementById("tools").hidden = false;
  const start = location.hash && document.querySelector(location.hash.replace(/[^#\w-]/g, ""));
  if (start && start.tagName === "TBODY") { open(start, true); start.scrollIntoView(); }
  filter();
})();
