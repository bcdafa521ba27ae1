const table = document.querySelector("table"), body = table.tBodies[0], rows = [...body.rows];
const field = document.getElementById("filter"), count = document.getElementById("count");
const key = (row, i) => row.cells[i].dataset.key;
function sort(head) {
  const i = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numeric = rows.every(row => key(row, i) !== "" && !isNaN(key(row, i)));
  rows.sort((a, b) => {
    const order = numeric ? key(a, i) - key(b, i) : key(a, i).localeCompare(key(b, i));
    return down ? -order : order;
  });
  body.append(...rows);
}
function filter() {
  const words = field.value.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} cells`;
}
for (const head of table.tHead.rows[0].cells) {
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(head); });
}
field.addEventListener("input", filter);
filter();
