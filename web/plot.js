/* plot.js - one plot of the last minutes: a line for each series, what it is now in words, and what it was
 * where the pointer is. */
import { drawing, element } from "./dom.js";

const HEIGHT = 96;
const TOP = 6;

/* The least round number that is at least `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.999999);
}

/* Where there is nothing, the line has a gap. points: [{x, y}], y null: nothing. */
function linePath(points) {
  let isDrawing = false;
  return points.map(({ x, y }) => {
    const command = y === null ? "" : `${isDrawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isDrawing = y !== null;
    return command;
  }).join("");
}

/* Down to the axis below each stretch of the line. */
function areaPath(points) {
  const paths = [];
  let stretch = [];
  for (const point of [...points, { y: null }]) {
    if (point.y !== null) {
      stretch.push(point);
    } else if (stretch.length > 0) {
      paths.push(`${linePath(stretch)}L${stretch.at(-1).x.toFixed(1)} ${HEIGHT}L${stretch[0].x.toFixed(1)} ${HEIGHT}Z`);
      stretch = [];
    }
  }
  return paths.join("");
}

function createSeries(name, index) {
  const value = element("strong", {}, "–");
  return {
    value,
    legend: name === "" ? element("li", {}, value)
      : element("li", { class: `series-${index}` }, element("span", { class: "swatch" }), element("span", {}, name), " ", value),
    area: drawing("path", { class: `area series-${index}` }),
    line: drawing("path", { class: `line series-${index}` }),
    dot: drawing("circle", { class: `dot series-${index}`, r: "3" }),
  };
}

/* spec: {title, series: [{name}] ("": it is the only one), format(value), least: of the axis' end, most: fixed end}.
 * pointed(share): the pointer is at that share of the width; null: it left. */
export function createPlot(spec, pointed) {
  const series = spec.series.map((one, index) => createSeries(one.name, index));
  const cursor = drawing("line", { class: "cursor", y1: "0", y2: String(HEIGHT) });
  const svg = drawing("svg", { height: String(HEIGHT), "aria-hidden": "true" },
    drawing("line", { class: "grid", x1: "0", x2: "100%", y1: String(TOP), y2: String(TOP) }),
    drawing("line", { class: "grid", x1: "0", x2: "100%", y1: String((HEIGHT + TOP) / 2), y2: String((HEIGHT + TOP) / 2) }),
    drawing("line", { class: "axis", x1: "0", x2: "100%", y1: String(HEIGHT - 0.5), y2: String(HEIGHT - 0.5) }),
    ...series.map((one) => one.area), ...series.map((one) => one.line), cursor, ...series.map((one) => one.dot));
  const top = element("span", { class: "top", "aria-hidden": "true" });
  const frame = element("div", { class: "frame" }, svg, top);
  const root = element("figure", { class: "plot" },
    element("figcaption", {}, element("h3", {}, spec.title), element("ul", {}, ...series.map((one) => one.legend))), frame);
  const track = (event) => {
    const { left, width } = svg.getBoundingClientRect();
    pointed((event.clientX - left) / width);
  };
  svg.addEventListener("pointermove", track);
  svg.addEventListener("pointerdown", track);
  svg.addEventListener("pointerleave", () => pointed(null));

  /* rows: [{at: 0 … 1, values: [one a series, null: none]}], oldest first; cursorRow: one of them, or
   * null for the last. */
  function draw(rows, cursorRow) {
    const width = svg.clientWidth;
    const seen = rows.flatMap((row) => row.values).filter((value) => value !== null);
    const end = spec.most ?? roundUp(Math.max(spec.least, ...seen));
    const height = (value) => HEIGHT - (HEIGHT - TOP) * Math.min(1, value / end);
    const row = cursorRow ?? rows.at(-1) ?? null;
    top.textContent = spec.format(end);
    series.forEach((one, index) => {
      const points = rows.map(({ at, values }) => ({ x: at * width, y: values[index] === null ? null : height(values[index]) }));
      const value = row?.values[index] ?? null;
      one.line.setAttribute("d", linePath(points));
      one.area.setAttribute("d", areaPath(points));
      one.value.textContent = value === null ? "–" : spec.format(value);
      one.dot.style.display = value === null ? "none" : "";
      one.dot.setAttribute("cx", String((row?.at ?? 0) * width));
      one.dot.setAttribute("cy", String(height(value ?? 0)));
    });
    cursor.style.display = cursorRow === null ? "none" : "";
    cursor.setAttribute("x1", String((cursorRow?.at ?? 0) * width));
    cursor.setAttribute("x2", String((cursorRow?.at ?? 0) * width));
  }

  return { root, svg, draw };
}
