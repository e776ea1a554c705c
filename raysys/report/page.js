// Tables are sorted by their heads; parallel coordinates answer to hovering and to brushes on their axes.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), place = [...head.parentNode.children].indexOf(head);
    const rising = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => { const text = row.children[place]?.textContent ?? "", number = parseFloat(text); return Number.isNaN(number) ? text : number; };
    const order = (a, b) => { const [x, y] = [value(a), value(b)]; return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) * (rising ? 1 : -1); };
    const body = table.tBodies[0];
    [...body.rows].sort(order).forEach((row) => body.append(row));
  });
}
for (const box of document.querySelectorAll(".parallel")) {
  const { axes, lines } = JSON.parse(box.querySelector("script").textContent);
  const wide = Math.max(420, axes.length * 120), high = 300, top = 34, bottom = 30, make = (kind, set, parent) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, what] of Object.entries(set)) made.setAttribute(name, what);
    return parent.appendChild(made);
  };
  const picture = make("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img" }, box);
  const x = (k) => 60 + (k * (wide - 120)) / Math.max(1, axes.length - 1), y = (share) => high - bottom - share * (high - top - bottom);
  const brushes = axes.map(() => null), told = box.querySelector("p");
  const paths = lines.map((line) => {
    const at = "M" + line.heights.map((share, k) => `${x(k)},${y(share)}`).join("L");
    const path = make("path", { d: at, stroke: `hsl(${Math.round(line.worth * 150)} 60% 48%)` }, picture);
    path.addEventListener("mouseenter", () => { path.classList.add("near"); told.textContent = line.title; });
    path.addEventListener("mouseleave", () => { path.classList.remove("near"); });
    return path;
  });
  const show = () => lines.forEach((line, n) => paths[n].classList.toggle("off", line.heights.some((share, k) => brushes[k] && (share < brushes[k][0] || share > brushes[k][1]))));
  axes.forEach((axis, k) => {
    make("line", { class: "axis", x1: x(k), x2: x(k), y1: y(0), y2: y(1) }, picture);
    const text = (words, where, size) => { make("text", { x: x(k), y: where, "text-anchor": "middle", "font-size": size }, picture).textContent = words; };
    text(axis.name, 14, 12); text(axis.high, top - 6, 10); text(axis.low, high - bottom + 14, 10);
    const mark = make("rect", { class: "brush", x: x(k) - 8, width: 16, y: 0, height: 0 }, picture);
    const field = make("rect", { class: "catch", x: x(k) - 14, width: 28, y: top - 4, height: high - top - bottom + 8 }, picture);
    const share = (event) => { const r = picture.getBoundingClientRect(), at = ((event.clientY - r.top) * high) / r.height; return Math.min(1, Math.max(0, (high - bottom - at) / (high - top - bottom))); };
    let from = null;
    field.addEventListener("pointerdown", (event) => { from = share(event); field.setPointerCapture(event.pointerId); });
    field.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const ends = [from, share(event)].sort((a, b) => a - b);
      brushes[k] = ends[1] - ends[0] > 0.01 ? ends : null;
      mark.setAttribute("y", y(ends[1])); mark.setAttribute("height", brushes[k] ? y(ends[0]) - y(ends[1]) : 0);
      show();
    });
    field.addEventListener("pointerup", () => { if (brushes[k] === null) mark.setAttribute("height", 0); from = null; show(); });
  });
}
