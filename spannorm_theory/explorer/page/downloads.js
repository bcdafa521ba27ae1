// What is shown, as a file: one SVG or PNG of all panels with a legend, or every number as CSV.

const FILE_STYLE = `text { font: 12px Georgia, serif; fill: #1a1a1a; }
  .grid { stroke: #e4e4e4; } .tick, .axis { stroke: #1a1a1a; fill: none; } .name { font-style: italic; }
  .title { font-weight: bold; } .letter { font-weight: bold; } .cursor { stroke: #888; }`;

function figureSvg(state, shown) {
  const names = panelNames(state), columns = names.length > 1 ? 2 : 1;
  const width = columns > 1 ? 460 : 720, height = columns > 1 ? 270 : 400, head = 20;
  const legend = shown.map((one, i) => `<g transform="translate(12,${12 + 20 * i})">${swatch(one.look, true)}
    <text x="42" y="11"><tspan style="font-weight:bold;fill:${one.look.colour}">${one.letter}</tspan>
    ${escaped(one.words)}</text></g>`);
  const top = 24 + 20 * shown.length;
  const panels = names.map((name, i) => {
    const { title, symbol, log } = PANELS[name];
    const label = name === "weights" ? `${title}, ${state.matrix}` : `${title} ${symbol}`;
    const inside = drawPanel(series(shown, name, state.matrix), { width, height, log, label, at: state.at,
      forFile: true });
    const [x, y] = [i % columns * width, top + head + Math.floor(i / columns) * (height + head)];
    return `<g transform="translate(${x},${y})">${inside}</g>`;
  });
  const whole = top + Math.ceil(names.length / columns) * (height + head) + 8;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${columns * width}" height="${whole}">
    <style>${FILE_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>
    ${legend.join("")}${panels.join("")}</svg>`;
}

async function figurePng(state, shown) {
  const image = new Image();
  image.src = "data:image/svg+xml," + encodeURIComponent(figureSvg(state, shown));
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise(resolve => canvas.toBlob(resolve, "image/png"));
}

// A row for each design, quantity, stream and layer, with the names that the library's tables have.
function figureCsv(shown) {
  const rows = [["design", "quantity", "stream", "layer", "value", "log_value", "theory"]];
  for (const { words: design, curves } of shown) {
    for (const quantity of ["variance", "grad_variance", "rank_collapse", "weight_grad_norm"]) {
      for (const [stream, logs] of Object.entries(curves[quantity] || {})) {
        logs.forEach((log, i) => rows.push([design, ...tidy(quantity, log, stream, curves.layers[i]),
          curves.theory]));
      }
    }
  }
  return rows.map(row => row.map(quoted).join(",")).join("\n") + "\n";
}

function tidy(quantity, log, stream, layer) {
  if (log === null) return [quantity === "rank_collapse" ? "token_cosine" : quantity, stream, layer, "", ""];
  if (quantity !== "rank_collapse") return [quantity, stream, layer, finite(Math.exp(log)), log];
  const cosine = 1 - Math.exp(log);
  return ["token_cosine", stream, layer, cosine, cosine > 0 ? Math.log(cosine) : ""];
}

function finite(value) {
  return Number.isFinite(value) && value > 0 ? value : "";
}

function quoted(cell) {
  return /[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell);
}

async function download(kind, state, shown) {
  const blob = kind === "png" ? await figurePng(state, shown)
    : kind === "svg" ? new Blob([figureSvg(state, shown)], { type: "image/svg+xml" })
      : new Blob([figureCsv(shown)], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `spannorm-${state.designs.map(design => design.placement).join("-")}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
