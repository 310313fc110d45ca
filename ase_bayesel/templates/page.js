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
    const pages = Math.ceil(rows.length / size);
    if (pages < 2) continue;
    let page = table.dataset.from === "first" ? 0 : pages - 1, every = false;
    const pager = document.createElement("div"), where = document.createElement("span");
    pager.className = "pager";
    const show = () => {
      rows.forEach((row, k) => { row.hidden = !every && Math.floor(k / size) !== page; });
      where.textContent = every ? `${rows.length} rows`
        : `${page * size + 1} to ${Math.min(rows.length, (page + 1) * size)} of ${rows.length}`;
      table.dispatchEvent(new Event("paged"));
    };
    const button = (text, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.addEventListener("click", () => { every = false; act(); show(); });
      pager.append(made);
    };
    button("first", () => { page = 0; });
    button("earlier", () => { page = Math.max(0, page - 1); });
    button("later", () => { page = Math.min(pages - 1, page + 1); });
    button("last", () => { page = pages - 1; });
    button("all", () => { every = true; });
    pager.append(where);
    table.parentElement.before(pager);
    let before;
    addEventListener("beforeprint", () => { before = every; every = true; show(); });
    addEventListener("afterprint", () => { every = before; show(); });
    show();
  }
})();
