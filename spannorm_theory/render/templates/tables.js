// Tables sort by a click on a heading, missing values last; a form above a table hides the rows that it does not name.
const missing = text => text === "" || text === "–";
const key = (row, i) => row.cells[i].dataset.key ?? row.cells[i].textContent.trim();

function sort(table, head) {
  const i = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  const numeric = rows.every(row => missing(key(row, i)) || !isNaN(key(row, i)));
  rows.sort((a, b) => {
    const [one, other] = [key(a, i), key(b, i)];
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    const order = numeric ? one - other : one.localeCompare(other);
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable"))
  for (const head of table.tHead.rows[0].cells) {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(table, head));
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(table, head); });
  }

for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...form.nextElementSibling.querySelector("table").tBodies[0].rows];
  const { words, verdict, count } = form.elements;
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every(word => text.includes(word)) && (!verdict?.value || row.dataset.verdict === verdict.value));
      shown += !row.hidden;
    }
    count.value = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  filter();
}

// a link to evidence opens it
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  target?.querySelector(":scope > details, :scope > td > details")?.setAttribute("open", "");
}
addEventListener("hashchange", reveal);
reveal();
