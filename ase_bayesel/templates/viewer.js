"use strict";
// Spheres, sorted by depth, and bonds where there is no cell; drag turns, wheel or +/- zooms, a pointer names an atom.
// The numbers of the pick stand beside, from its row of the table.
(() => {
  const data = JSON.parse(document.getElementById("structures").textContent);
  const box = document.getElementById("viewer");
  if (!box) return;
  const table = document.getElementById("picks");
  const canvas = box.querySelector("canvas"), told = box.querySelector("output");
  const STOPS = [[59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const color = (share, light = 1) => {
    const x = Math.min(share, 1) * (STOPS.length - 1), k = Math.min(Math.floor(x), STOPS.length - 2);
    return `rgb(${STOPS[k].map((c, i) =>
      Math.round(light * (c + (x - k) * (STOPS[k + 1][i] - c)))).join(",")})`;
  };
  const read = new Map();

  function structure(index) {
    if (read.has(index)) return read.get(index);
    const raw = data.picks[index];
    if (!raw) return null;
    const places = new Uint16Array(bytes(raw.xyz).buffer), std = bytes(raw.std);
    const atoms = [...bytes(raw.z)].map((z, k) => ({
      k, z, share: std[k] / 255, radius: 0.55 * data.elements[z][1],
      at: [0, 1, 2].map((i) => raw.low[i] + raw.step * places[3 * k + i]),
    }));
    const edges = [];
    if (raw.cell) {
      const corner = (bits) => [0, 1, 2].map((i) =>
        raw.cell.reduce((sum, v, k) => sum + (bits >> k & 1) * v[i], 0));
      for (let bits = 0; bits < 8; bits++)
        for (let k = 0; k < 3; k++)
          if (!(bits >> k & 1)) edges.push([corner(bits), corner(bits | 1 << k)]);
    }
    const bonds = [];
    if (!raw.cell && atoms.length <= 500)
      for (const a of atoms)
        for (const b of atoms)
          if (a.k < b.k && Math.hypot(...a.at.map((x, i) => x - b.at[i])) <
              1.25 * (data.elements[a.z][1] + data.elements[b.z][1])) bonds.push([a.at, b.at]);
    const all = [...atoms.map((a) => a.at), ...edges.flat()];
    const ends = [Math.min, Math.max].map((f) => [0, 1, 2].map((i) =>
      all.reduce((found, p) => f(found, p[i]), f === Math.min ? Infinity : -Infinity)));
    const middle = [0, 1, 2].map((i) => (ends[0][i] + ends[1][i]) / 2);
    const size = Math.max(2, Math.hypot(...ends[1].map((x, i) => x - ends[0][i])) / 2 + 1);
    const made = { raw, atoms, edges, bonds, middle, size };
    read.set(index, made);
    return made;
  }

  const times = (a, b) => a.map((row) => [0, 1, 2].map((j) =>
    row.reduce((sum, x, k) => sum + x * b[k][j], 0)));
  const about = (axis, angle) => {
    const c = Math.cos(angle), s = Math.sin(angle);
    return axis === "x" ? [[1, 0, 0], [0, c, -s], [0, s, c]] : [[c, 0, s], [0, 1, 0], [-s, 0, c]];
  };
  const START = times(about("x", 0.35), about("y", 0.5));

  function draw(target, shown, turn, zoom, named = null) {
    const ratio = target.className === "thumb" ? 2 : devicePixelRatio || 1;
    const [width, height] = [target.clientWidth, target.clientHeight];
    target.width = Math.max(1, width * ratio);
    target.height = Math.max(1, height * ratio);
    const pen = target.getContext("2d");
    pen.scale(ratio, ratio);
    const scale = zoom * Math.min(width, height) / (2 * shown.size);
    const seen = (p) => {
      const q = turn.map((row) => row.reduce((sum, x, i) => sum + x * (p[i] - shown.middle[i]), 0));
      return [width / 2 + scale * q[0], height / 2 - scale * q[1], q[2]];
    };
    const ink = getComputedStyle(document.body).color;
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.45;
    const lines = (ends, thickness) => {
      pen.lineWidth = thickness;
      for (const [a, b] of ends) {
        const [p, q] = [seen(a), seen(b)];
        pen.beginPath();
        pen.moveTo(p[0], p[1]);
        pen.lineTo(q[0], q[1]);
        pen.stroke();
      }
    };
    lines(shown.edges, 1);
    lines(shown.bonds, Math.max(1, 0.15 * scale));
    pen.globalAlpha = 1;
    const spheres = shown.atoms.map((atom) => ({ atom, p: seen(atom.at) }));
    spheres.sort((a, b) => a.p[2] - b.p[2]);
    for (const { atom, p } of spheres) {
      const radius = Math.max(1, scale * atom.radius);
      const light = pen.createRadialGradient(
        p[0] - radius / 3, p[1] - radius / 3, radius / 8, p[0], p[1], radius);
      light.addColorStop(0, color(atom.share, 1.35));
      light.addColorStop(1, color(atom.share, 0.75));
      pen.fillStyle = light;
      pen.beginPath();
      pen.arc(p[0], p[1], radius, 0, 7);
      pen.fill();
      if (atom.k === shown.raw.atom || atom.k === named) {
        pen.lineWidth = atom.k === named ? 1 : 2;
        pen.strokeStyle = atom.k === named ? ink : "#d64d57";
        pen.stroke();
      }
    }
    return spheres.map(({ atom, p }) => ({ atom, p, radius: scale * atom.radius }));
  }

  let current = null, turn = START, zoom = 1.25, spheres = [], held = null;
  const redraw = (named) => { if (current) spheres = draw(canvas, current, turn, zoom, named); };

  function show(index) {
    const found = structure(index);
    if (!found) return;
    [current, turn, zoom] = [found, START, 1.25];
    box.querySelector("figcaption").textContent = found.raw.title;
    box.querySelector(".largest").textContent = `${found.raw.largest} meV`;
    for (const row of table.querySelectorAll("tr[data-pick]")) {
      const own = row.dataset.pick === String(index);
      row.classList.toggle("shown", own);
      if (own) tell(row);
    }
    redraw();
  }

  function tell(row) {
    const numbers = document.getElementById("numbers"), heads = table.tHead.rows[0].cells;
    const told = [...row.cells].flatMap((cell, k) => [
      [heads[k].dataset.name || heads[k].textContent, cell.textContent],
      [cell.dataset.more, cell.title],
    ]).filter(([name, text]) => name && text);
    numbers.replaceChildren(...told.flatMap((pair) => pair.map((text, k) => {
      const made = document.createElement(k ? "dd" : "dt");
      made.textContent = text;
      return made;
    })));
  }

  const turned = (dx, dy) => { turn = times(times(about("x", dy), about("y", dx)), turn); redraw(); };
  const zoomed = (factor) => { zoom = Math.min(8, Math.max(0.3, zoom * factor)); redraw(); };
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      turned((event.clientX - held[0]) / 120, (event.clientY - held[1]) / 120);
      held = [event.clientX, event.clientY];
      return;
    }
    const x = event.offsetX, y = event.offsetY;
    const under = spheres.findLast((s) => Math.hypot(s.p[0] - x, s.p[1] - y) < s.radius);
    told.textContent = under ? `${data.elements[under.atom.z][0]} ${under.atom.k}: ` +
      `${(under.atom.share * current.raw.largest).toPrecision(3)} meV` : "";
    redraw(under ? under.atom.k : null);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomed(Math.exp(-event.deltaY / 600));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (keys[event.key]) turned(...keys[event.key]);
    else if (event.key === "+" || event.key === "-") zoomed(event.key === "+" ? 1.2 : 1 / 1.2);
    else return;
    event.preventDefault();
  });

  function thumbnails() {
    for (const small of document.querySelectorAll("canvas.thumb")) {
      const found = structure(small.closest("tr").dataset.pick);
      if (found && small.clientWidth) draw(small, found, START, 1.3);
    }
  }
  table.addEventListener("paged", thumbnails);
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-pick]");
    if (row) show(row.dataset.pick);
  });
  document.addEventListener("themechange", () => { redraw(); thumbnails(); });
  addEventListener("resize", () => redraw());
  addEventListener("beforeprint", () => { redraw(); thumbnails(); });
  const last = Object.keys(data.picks).pop();
  if (last !== undefined) show(last);
  thumbnails();
})();
