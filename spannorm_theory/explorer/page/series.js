// Curves of the designs that are shown, as points of a panel.

const LETTERS = ["A", "B", "C"];
const LIVE = { colour: "#1a1a1a", light: "#f0f0f0", dash: [], second: [1.6, 1.4], marker: "", open: false };
const PANELS = {
  variance: { title: "Forward variance", symbol: "q", log: true },
  gradient: { title: "Gradient variance", symbol: "γ", log: true },
  cosine: { title: "Token cosine", symbol: "ρ", log: false },
  distance: { title: "Distance from rank one", symbol: "1 − ρ", log: true },
  weights: { title: "Squared weight-gradient norm", symbol: "‖∂W‖²", log: true },
};
const KEPT = {
  variance: "variance", gradient: "grad_variance", cosine: "rank_collapse", distance: "rank_collapse",
  weights: "weight_grad_norm",
};
const WORDS = { gelu: "GELU", swiglu: "SwiGLU", none: "no mask", causal: "causal" };

function words(design) {
  const { title } = GRID.placements[design.placement];
  const parts = [design.rule, `${design.depth} blocks`, WORDS[design.activation], WORDS[design.mask]];
  return [title, ...parts].join(", ");
}

// What is drawn: each design with its letter, look and curves, then the live one if there is any.
function drawn(state, live) {
  const seen = [];
  const found = state.designs.map((design, i) => {
    const look = GRID.placements[design.placement];
    const again = seen.filter(name => name === design.placement).length;
    seen.push(design.placement);
    const curves = look.curves[writeDesign(design)];
    return { letter: LETTERS[i], words: words(design), design, look: repeated(look, again), curves,
      depth: +design.depth };
  });
  if (live) found.push({ ...live, letter: "Y", words: live.title, look: LIVE });
  return found;
}

// A placement that is shown again keeps its colour, with another dash and hollow markers.
function repeated(look, again) {
  if (!again) return look;
  const dash = [[3, 1.6], [1.2, 1.4]][again - 1];
  return { ...look, dash, hollow: true };
}

// The number that a panel draws for a natural logarithm that is kept, or null.
function ordinate(panel, log) {
  if (log === null) return null;
  if (panel === "cosine") return 1 - Math.exp(log);
  if (panel === "distance" && log <= Math.log(GRID.unresolved) + 1e-3) return null;
  return log / Math.LN10;
}

// Lines of a panel: one for each design and stream (or for the weight matrix that is chosen).
function series(shown, panel, matrix) {
  const lines = [];
  for (const [order, one] of shown.entries()) {
    const kept = one.curves[KEPT[panel]];
    if (!kept) continue;
    const names = panel === "weights" ? [matrix].filter(name => kept[name]) : Object.keys(kept);
    for (const name of names) {
      const points = kept[name].map((log, i) => ({ layer: one.curves.layers[i], y: ordinate(panel, log) }));
      lines.push({ ...one, order, stream: name, other: panel !== "weights" && name !== names[0], points });
    }
  }
  return lines;
}

function matrices(shown) {
  return [...new Set(shown.flatMap(one => Object.keys(one.curves.weight_grad_norm || {})))];
}

function nearest(points, layer) {
  return points.reduce((best, point) =>
    Math.abs(point.layer - layer) < Math.abs(best.layer - layer) ? point : best);
}

// A value as people write it, from its base-10 logarithm or, on a linear axis, itself.
function shownValue(y, log) {
  if (y === null || y === undefined) return "–";
  if (!log) return y.toFixed(3).replace("-", "−");
  if (y > -3.0001 && y < 4) return String(Number((10 ** y).toPrecision(3)));
  const exponent = Math.floor(y + 1e-9);
  return `${(10 ** (y - exponent)).toFixed(2)}×10${raised(exponent)}`;
}

function raised(number) {
  return String(number).replace(/[-\d]/g, digit => digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
}
