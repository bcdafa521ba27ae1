// What each design amounts to: numbers at the grid's depths, laws, equations and the block diagram.

const NUMBERS = [
  ["gradient variance at the embedding, for 1 at the output", curves => curves.embedding],
  ["forward variance at the output", curves => ends(curves, "variance")],
  ["1 − token cosine at the output", curves => ends(curves, "rank_collapse")],
];

function ends(curves, quantity) {
  return curves[quantity]?.["0"].at(-1) ?? null;
}

function written(log) {
  if (log === null || log === undefined) return "–";
  return log <= Math.log(GRID.unresolved) + 1e-3 ? "below 10⁻¹⁴" : shownValue(log / Math.LN10, true);
}

function numbersTable(design) {
  const { curves } = GRID.placements[design.placement];
  const head = GRID.choices.depth.map(depth =>
    `<th scope="col"${String(depth) === design.depth ? ' class="here"' : ""}>${depth}</th>`);
  const rows = NUMBERS.map(([name, of]) => {
    const cells = GRID.choices.depth.map(depth => {
      const found = curves[writeDesign({ ...design, depth })];
      const kind = String(depth) === design.depth ? ' class="here"' : "";
      return `<td${kind}>${found.refused ? "–" : written(of(found))}</td>`;
    });
    return `<tr><th scope="row">${name}</th>${cells.join("")}</tr>`;
  });
  return `<table><thead><tr><th scope="col">blocks</th>${head.join("")}</tr></thead>
    <tbody>${rows.join("")}</tbody></table>`;
}

// Where the documentation is, if the page was told; placements and rules have pages there.
const HOME = document.querySelector("meta[name=documentation]").content;

function inCatalogue(folder, name, text) {
  const page = `${HOME}catalogue/${folder}/${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.html`;
  return `<a href="${escaped(page)}">${escaped(text)}</a>`;
}

function itsPages({ placement, rule }) {
  if (!HOME) return "";
  const rulePage = inCatalogue("rules", rule, `the rule ${rule}`);
  return ` · more: ${inCatalogue("placements", placement, GRID.placements[placement].title)}, ${rulePage}`;
}

function source(look) {
  const where = look.source.startsWith("arXiv:")
    ? `https://arxiv.org/abs/${look.source.slice(6)}` : look.source;
  const text = escaped(look.source.replace("https://", ""));
  const link = where.startsWith("https://") ? `<a href="${escaped(where)}">${text}</a>` : text;
  return `${look.year || ""} ${link}`;
}

function formulaParts({ block, laws, equations }) {
  const rows = laws.map(([name, law]) => `<tr><th scope="row">${name}</th><td>${law}</td></tr>`);
  return `<details><summary>Large-depth laws</summary>
    <p class="note">For constant branch gains, without a mask. γ₀ is at the embedding; p is an eigenvalue.</p>
    <table class="laws">${rows.join("")}</table></details>
    <details><summary>One block's equations</summary><p class="note"><code>${escaped(block)}</code></p>
    <div class="maths">${equations.map(line => `<div>${line}</div>`).join("")}</div></details>`;
}

function picture(svg, name) {
  return `<img alt="block diagram of ${escaped(name)}" src="data:image/svg+xml,${encodeURIComponent(svg)}">`;
}

function finding(one) {
  const placement = GRID.placements[one.design.placement];
  return `<article data-letter="${one.letter}"><h3><b style="color:${ink(one.look)}">${one.letter}</b>
    ${escaped(one.words)}</h3><p class="note">${source(placement)}${itsPages(one.design)}</p>${numbersTable(one.design)}
    ${formulaParts(placement.formulas[one.design.rule])}
    <details><summary>Block diagram, under ${escaped(placement.rules[0])}</summary>
    ${picture(placement.diagram, placement.title)}</details></article>`;
}

function drawFindings(shown) {
  const element = document.getElementById("findings");
  const open = [...element.querySelectorAll("details")].map(one => one.open);
  element.innerHTML = shown.filter(one => one.design).map(finding).join("");
  [...element.querySelectorAll("details")].forEach((one, i) => { one.open = Boolean(open[i]); });
}
