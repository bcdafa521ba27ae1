// One panel as SVG: axes, a line with markers for each series, letters at the lines' ends, and the cursor.

const MARGIN = { left: 52, right: 24, top: 10, bottom: 36 };
const LINE = 1.8;

function escaped(text) {
  return String(text).replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

// Where things are: pixels of a layer and of an ordinate. Designs of several depths share l / L.
function frame(lines, width, height, log) {
  const depths = [...new Set(lines.map(line => line.depth))];
  const relative = depths.length > 1, last = relative ? 1 : depths[0] || 1;
  const values = lines.flatMap(line => line.points.map(p => p.y)).filter(y => y !== null);
  const [low, high] = range(values, log);
  const inner = { w: width - MARGIN.left - MARGIN.right, h: height - MARGIN.top - MARGIN.bottom };
  return {
    relative, last, low, high, inner, width, height,
    x: (layer, depth) => MARGIN.left + inner.w * (relative ? layer / depth : layer) / last,
    y: value => MARGIN.top + inner.h * (1 - (value - low) / (high - low)),
  };
}

function drawPanel(lines, { width, height, log, label, at = null, forFile = false }) {
  const box = frame(lines, width, height, log);
  const parts = [axes(box, log, label), ...lines.map(line => path(line, box, forFile)),
    letters(lines, box, forFile)];
  if (!lines.length) {
    const where = `x="${width / 2}" y="${height / 2}" text-anchor="middle" class="none"`;
    parts.push(`<text ${where}>the theory has no such curve here</text>`);
  }
  if (at !== null) parts.push(cursor(lines, box, at, forFile));
  return parts.join("");
}

function axes(box, log, label) {
  const { left, top } = MARGIN, bottom = top + box.inner.h, right = left + box.inner.w;
  const parts = [];
  const count = Math.max(3, Math.floor(box.inner.h / 38));
  for (const tick of (log ? logTicks : linearTicks)(box.low, box.high, count)) {
    const y = box.y(tick.at).toFixed(1);
    parts.push(`<line class="grid" x1="${left}" x2="${right}" y1="${y}" y2="${y}"/>`);
    parts.push(`<text x="${left - 7}" y="${y}" dy=".32em" text-anchor="end">${tick.label}</text>`);
  }
  for (const tick of linearTicks(0, box.last, Math.max(3, Math.floor(box.inner.w / 70)))) {
    const x = (left + box.inner.w * tick.at / box.last).toFixed(1);
    parts.push(`<line class="tick" x1="${x}" x2="${x}" y1="${bottom}" y2="${bottom + 4}"/>`);
    parts.push(`<text x="${x}" y="${bottom + 16}" text-anchor="middle">${tick.label}</text>`);
  }
  parts.push(`<path class="axis" d="M${left},${top}V${bottom}H${right}"/>`);
  const name = box.relative ? "layer over depth, l / L" : "layer l";
  const middle = (left + right) / 2;
  parts.push(`<text class="name" x="${middle}" y="${box.height - 4}" text-anchor="middle">${name}</text>`);
  if (label) parts.push(`<text class="title" x="${left}" y="${top - 8}">${escaped(label)}</text>`);
  return parts.join("");
}

// A line, broken where there is no value; streams beside the first are thinner, with a dash of their own.
function path(line, box, forFile) {
  const { look } = line;
  let d = "", pen = "M";
  for (const { layer, y } of line.points) {
    if (y === null) { pen = "M"; continue; }
    d += `${pen}${box.x(layer, line.depth).toFixed(1)},${box.y(y).toFixed(1)}`;
    pen = "L";
  }
  if (!d) return "";
  const stroke = ink(look, forFile), wide = line.other ? LINE * 0.75 : LINE;
  const dash = (line.other ? look.second : look.dash).map(length => (length * wide).toFixed(1)).join(" ");
  const style = `fill:none;stroke:${stroke};stroke-width:${wide};stroke-dasharray:${dash || "none"}`;
  const data = `data-letter="${line.letter}" data-stream="${escaped(line.stream)}"`;
  const parts = [`<path class="curve" ${data} d="${d}" style="${style}"/>`];
  if (!line.other) parts.push(...markers(line, box, stroke));
  return parts.join("");
}

// Markers at six layers, moved along by the design's place: those of equal curves stand side by side.
function markers(line, box, stroke) {
  const known = line.points.filter(p => p.y !== null), found = [];
  for (let i = 0; i < 6 && line.look.marker; i++) {
    const place = (i + 0.2 + 0.27 * line.order) / 6 * line.depth;
    found.push(nearest(known, place));
  }
  return [...new Set(found)].map(p => mark(line.look, box.x(p.layer, line.depth), box.y(p.y), stroke));
}

function mark(look, x, y, stroke) {
  const fill = look.open ? "none" : look.hollow ? "var(--paper, #fff)" : stroke;
  const edge = look.open || look.hollow ? stroke : "var(--paper, #fff)";
  const where = `translate(${x.toFixed(1)},${y.toFixed(1)}) scale(8)`;
  return `<path class="mark" transform="${where}" d="${look.marker}"
    style="fill:${fill};stroke:${edge};stroke-width:${look.open || look.hollow ? 0.2 : 0.08}"/>`;
}

// Letters at the ends of lines, moved apart where the ends are closer than a letter is high.
function letters(lines, box, forFile) {
  const ends = lines.filter(line => !line.other).map(line => {
    const end = line.points.filter(p => p.y !== null).at(-1);
    return end && { line, x: box.x(end.layer, line.depth) + 6, y: box.y(end.y) + 4 };
  }).filter(Boolean).sort((a, b) => a.y - b.y);
  const lowest = box.height - MARGIN.bottom;
  ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 12); });
  for (let i = ends.length - 1; i >= 0; i--) {
    ends[i].y = Math.min(ends[i].y, i === ends.length - 1 ? lowest + 2 : ends[i + 1].y - 12);
  }
  return ends.map(({ line, x, y }) =>
    `<text class="letter" x="${x.toFixed(1)}" y="${y.toFixed(1)}" style="fill:${ink(line.look, forFile)}">${
      line.letter}</text>`).join("");
}

function cursor(lines, box, at, forFile) {
  const deepest = Math.max(1, ...lines.map(line => line.depth));
  const x = box.x(at, deepest).toFixed(1);
  const dots = lines.map(line => {
    const point = nearest(line.points, at / deepest * line.depth);
    if (point.y === null) return "";
    const where = `cx="${box.x(point.layer, line.depth).toFixed(1)}" cy="${box.y(point.y).toFixed(1)}"`;
    return `<circle ${where} r="${line.other ? 2.5 : 3.5}" style="fill:${ink(line.look, forFile)}"/>`;
  });
  return `<line class="cursor" x1="${x}" x2="${x}" y1="${MARGIN.top}" y2="${MARGIN.top + box.inner.h}"/>`
    + dots.join("");
}
