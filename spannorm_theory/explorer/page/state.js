// The state of the page, and the link that holds the whole of it.

const FIELDS = ["placement", "rule", "depth", "activation", "mask"];
const VIEWS = ["all", "variance", "gradient", "cosine", "weights"];
const COSINES = ["cosine", "distance"];
const MOST = 3;
const FIRST = ["span-norm.depth-scaled-init.48.gelu.none", "pre-norm.unit.48.gelu.none", "post-norm.unit.48.gelu.none"];

const GRID = JSON.parse(document.getElementById("grid").textContent);

// A design from a link, such as span-norm.unit.48.gelu.none: what the grid does not have becomes what is
// first there, and an unknown placement is no design.
function readDesign(text) {
  const [placement, ...rest] = text.split(".");
  if (!Object.hasOwn(GRID.placements, placement)) return null;
  const design = { placement };
  FIELDS.slice(1).forEach((field, i) => {
    const known = options(design, field).map(String);
    design[field] = known.includes(rest[i]) ? rest[i] : known[0];
  });
  return design;
}

function options(design, field) {
  if (field === "placement") return Object.keys(GRID.placements);
  if (field === "rule") return GRID.placements[design.placement].rules;
  return GRID.choices[field];
}

function writeDesign(design) {
  return FIELDS.map(field => design[field]).join(".");
}

function oneOf(known, value) {
  return known.includes(value) ? value : known[0];
}

function readState(hash) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const designs = found.getAll("d").map(readDesign).filter(Boolean).slice(0, MOST);
  const at = parseInt(found.get("at"), 10);
  return {
    designs: designs.length ? designs : FIRST.map(readDesign),
    view: oneOf(VIEWS, found.get("view")),
    cosine: oneOf(COSINES, found.get("cosine")),
    matrix: found.get("matrix") || "ffn.down",
    at: at >= 0 ? at : null,
    code: found.get("code"),
    arch: found.get("arch"),
  };
}

// Everything beside designs is written only where it is not what a fresh page shows.
function writeState(state) {
  const found = new URLSearchParams();
  for (const design of state.designs) found.append("d", writeDesign(design));
  if (state.view !== VIEWS[0]) found.set("view", state.view);
  if (state.cosine !== COSINES[0]) found.set("cosine", state.cosine);
  if (state.matrix !== "ffn.down") found.set("matrix", state.matrix);
  if (state.at !== null) found.set("at", state.at);
  if (state.code !== null) found.set("code", state.code);
  if (state.arch !== null) found.set("arch", state.arch);
  return "#" + found;
}
