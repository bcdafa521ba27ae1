// The panels on the page: which there are, their headings, and the values under the cursor.

function panelNames(state) {
  const all = ["variance", "gradient", state.cosine, "weights"];
  return state.view === "all" ? all : [all[VIEWS.indexOf(state.view) - 1]];
}

function heading(name, state, known) {
  const { title, symbol } = PANELS[name];
  let choice = "";
  if (name === "cosine" || name === "distance") {
    const button = name === "cosine" ? "show 1 − ρ" : "show ρ";
    choice = `<button data-cosine="${name === "cosine" ? "distance" : "cosine"}">${button}</button>`;
  }
  if (name === "weights") {
    const items = known.map(m => `<option${m === state.matrix ? " selected" : ""}>${escaped(m)}</option>`);
    choice = `<select data-matrix aria-label="weight matrix">${items.join("")}</select>`;
  }
  return `<h3>${title} <span>${symbol.replace(/[qγρW]/, "<i>$&</i>")}</span>${choice}</h3>`;
}

// Under a panel: each design's value at the cursor, or at both ends of the stack.
function values(lines, name, at) {
  const { log } = PANELS[name], deepest = Math.max(1, ...lines.map(line => line.depth));
  const items = lines.filter(line => !line.other).map(line => {
    const [first, last] = [line.points[0].y, line.points.at(-1).y].map(y => shownValue(y, log));
    const here = at === null ? `${first} → ${last}`
      : shownValue(nearest(line.points, at / deepest * line.depth).y, log);
    return `<span><b style="color:${ink(line.look)}">${line.letter}</b> ${here}</span>`;
  });
  return `<p class="values">${items.join("")}</p>`;
}

function described(name, shown) {
  return `${PANELS[name].title} against the layer: ${shown.map(one => one.words).join("; ")}`;
}

function drawPanels(state, shown) {
  const element = document.getElementById("panels"), known = matrices(shown);
  if (known.length && !known.includes(state.matrix)) state.matrix = known.at(-1);
  const names = panelNames(state);
  element.className = names.length > 1 ? "several" : "single";
  const gap = 24, whole = element.clientWidth;
  const width = names.length > 1 && whole > 740 ? Math.floor((whole - gap) / 2) : whole;
  const height = names.length > 1 ? Math.round(Math.max(200, Math.min(270, width * 0.48))) : Math.round(
    Math.max(260, Math.min(480, width * 0.5)));
  keepFocus(element, names.map(name => {
    const lines = series(shown, name, state.matrix), { log } = PANELS[name];
    const svg = drawPanel(lines, { width, height, log, at: state.at });
    return `<section class="panel" data-panel="${name}">${heading(name, state, known)}
      <svg role="img" aria-label="${escaped(described(name, shown))}" width="${width}" height="${height}"
      viewBox="0 0 ${width} ${height}">${svg}</svg>${values(lines, name, state.at)}</section>`;
  }).join(""));
  const deepest = Math.max(...shown.map(one => one.depth)), slider = document.getElementById("at");
  slider.max = deepest;
  slider.value = state.at === null ? 0 : Math.min(state.at, deepest);
  document.getElementById("where").textContent = state.at === null
    ? "at both ends of the stack" : `at layer ${slider.value} of ${deepest}`;
}

// The layer under a point of a panel, of the deepest design.
function layerAt(svg, clientX, shown) {
  const bounds = svg.getBoundingClientRect(), deepest = Math.max(...shown.map(one => one.depth));
  const inner = bounds.width - MARGIN.left - MARGIN.right;
  const share = (clientX - bounds.left - MARGIN.left) / inner;
  return Math.round(Math.max(0, Math.min(1, share)) * deepest);
}
