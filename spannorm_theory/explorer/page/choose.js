// The choices: a card for each design, the view, and what a panel's heading lets one choose.

const LABELS = {
  placement: "Placement", rule: "Scaling rule", depth: "Blocks", activation: "Activation", mask: "Mask",
};

function optionText(field, value) {
  if (field === "placement") return GRID.placements[value].title;
  return WORDS[value] || String(value);
}

function select(design, index, field) {
  const chosen = options(design, field).map(value => {
    const mark = String(value) === String(design[field]) ? " selected" : "";
    return `<option value="${escaped(value)}"${mark}>${escaped(optionText(field, value))}</option>`;
  });
  return `<label class="${field}"><span>${LABELS[field]}</span>
    <select data-design="${index}" data-field="${field}">${chosen.join("")}</select></label>`;
}

// A short piece of a design's line with its marker.
function swatch(look, forFile = false) {
  const stroke = ink(look, forFile), dash = look.dash.map(length => (length * LINE).toFixed(1)).join(" ");
  const style = `fill:none;stroke:${stroke};stroke-width:${LINE};stroke-dasharray:${dash || "none"}`;
  const line = `<path d="M1,7H33" style="${style}"/>`;
  return line + (look.marker ? mark(look, 17, 7, stroke) : "");
}

function designCard(one, index, count) {
  const label = `remove design ${one.letter}`;
  const remove = count > 1
    ? `<button class="remove" data-remove="${index}" aria-label="${label}">×</button>` : "";
  const reason = one.curves.refused;
  const refused = reason ? `<p class="refused">No theory: ${escaped(reason)}</p>` : "";
  return `<fieldset class="design"><legend><b style="color:${ink(one.look)}">${one.letter}</b>
    <svg width="34" height="14" aria-hidden="true">${swatch(one.look)}</svg></legend>${remove}
    ${FIELDS.map(field => select(one.design, index, field)).join("")}${refused}</fieldset>`;
}

function drawChoices(state, shown) {
  const own = shown.filter(one => one.design);
  const cards = own.map((one, i) => designCard(one, i, own.length));
  if (own.length < MOST) cards.push('<button class="add" data-add>+ compare another design</button>');
  keepFocus(document.getElementById("designs"), cards.join(""));
  document.getElementById("view").value = state.view;
}

// New markup in the place of old; the select or button that had the keyboard has it again.
function keepFocus(element, markup) {
  const { dataset = {} } = element.contains(document.activeElement) ? document.activeElement : {};
  const data = Object.entries(dataset).map(([name, value]) => `[data-${name}="${value}"]`).join("");
  element.innerHTML = markup;
  if (data) element.querySelector(data)?.focus();
}

function changeDesign(state, index, field, value) {
  const design = { ...state.designs[index], [field]: value };
  state.designs[index] = readDesign(writeDesign(design));
}

// A further design: the first placement that is not shown yet, in the last one's sizes.
function addDesign(state) {
  const used = state.designs.map(design => design.placement);
  const next = ["span-norm", "pre-norm", "post-norm", "hybrid-norm"].find(name => !used.includes(name));
  state.designs.push(readDesign(writeDesign({ ...state.designs.at(-1), placement: next })));
}
