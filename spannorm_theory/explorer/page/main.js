// The page: one state, drawn anew at every change, and kept in the link.

let state = readState(location.hash);
let live = null;

function draw() {
  const shown = drawn(state, live);
  drawChoices(state, shown);
  drawPanels(state, shown);
  drawFindings(shown);
  history.replaceState(null, "", writeState(state));
}

function redrawPanels() {
  drawPanels(state, drawn(state, live));
  history.replaceState(null, "", writeState(state));
}

function choose({ target }) {
  const { design, field, matrix } = target.dataset;
  if (field) changeDesign(state, +design, field, target.value);
  else if (matrix !== undefined) state.matrix = target.value;
  else return;
  draw();
}

function press({ target }) {
  const { remove, add, cosine } = target.dataset;
  if (remove !== undefined) state.designs.splice(+remove, 1);
  else if (add !== undefined) addDesign(state);
  else if (cosine) state.cosine = cosine;
  else return;
  draw();
}

function point(event) {
  const svg = event.target.closest(".panel svg");
  if (!svg) return;
  const at = layerAt(svg, event.clientX, drawn(state, live));
  if (at !== state.at) { state.at = at; redrawPanels(); }
}

function copyLink() {
  const button = document.getElementById("link");
  const done = () => { button.textContent = "link copied"; };
  const copied = navigator.clipboard ? navigator.clipboard.writeText(location.href) : Promise.reject();
  copied.then(done, () => prompt("The link:", location.href));
}

function switchLight() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches, root = document.documentElement;
  const now = root.style.colorScheme || (dark ? "dark" : "light");
  root.style.colorScheme = now === "dark" ? "light" : "dark";
}

function listen() {
  const by = id => document.getElementById(id);
  for (const id of ["designs", "panels"]) {
    by(id).addEventListener("change", choose);
    by(id).addEventListener("click", press);
  }
  by("panels").addEventListener("pointermove", point);
  by("panels").addEventListener("pointerdown", point);
  by("view").addEventListener("change", event => { state.view = event.target.value; draw(); });
  by("at").addEventListener("input", event => { state.at = +event.target.value; redrawPanels(); });
  by("both").addEventListener("click", () => { state.at = null; redrawPanels(); });
  for (const kind of ["svg", "png", "csv"]) {
    by(kind).addEventListener("click", () => download(kind, state, drawn(state, live)));
  }
  by("link").addEventListener("click", copyLink);
  by("light").addEventListener("click", switchLight);
  by("code").addEventListener("input", event => { state.code = event.target.value; redrawPanels(); });
  by("arch").addEventListener("input", event => { state.arch = event.target.value; redrawPanels(); });
  addEventListener("resize", redrawPanels);
  addEventListener("hashchange", open);
}

function showLive(found) {
  live = found;
  draw();
}

function open() {
  state = readState(location.hash);
  prepareLive(state, showLive);
  draw();
}

function leadHome() {
  const link = document.getElementById("home");
  link.hidden = !HOME;
  link.href = `${HOME}index.html`;
}

leadHome();
listen();
open();
