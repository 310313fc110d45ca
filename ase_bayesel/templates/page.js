"use strict";
(() => {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.dispatchEvent(new Event("themechange"));
  });
  for (const table of document.querySelectorAll("table[data-page]")) {
    const size = +table.dataset.page, rows = [...table.tBodies[0].rows];
    const last = rows.length - size;  // so that the last page is as full as the others
    if (last <= 0) continue;
    let from = table.dataset.from === "first" ? 0 : last, every = false;
    const pager = document.createElement("div"), where = document.createElement("span");
    pager.className = "pager";
    const show = () => {
      rows.forEach((row, k) => { row.hidden = !every && (k < from || k >= from + size); });
      where.textContent = every ? `${rows.length} rows`
        : `${from + 1} to ${from + size} of ${rows.length}`;
      table.dispatchEvent(new Event("paged"));
    };
    const button = (text, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.addEventListener("click", () => { every = false; act(); show(); });
      pager.append(made);
    };
    button("first", () => { from = 0; });
    button("earlier", () => { from = Math.max(0, from - size); });
    button("later", () => { from = Math.min(last, from + size); });
    button("last", () => { from = last; });
    button("all", () => { every = true; });
    pager.append(where);
    table.parentElement.before(pager);
    let before;
    addEventListener("beforeprint", () => { before = every; every = true; show(); });
    addEventListener("afterprint", () => { every = before; show(); });
    show();
  }
})();
