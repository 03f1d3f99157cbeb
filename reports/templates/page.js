// Live charts over the still ones, levels picked in a legend, tables that sort. All of it may be missing: the page says the same.
const views = [];
let picked = "";

async function bring(figure) {
  const target = document.createElement("div");
  target.className = "live";
  figure.querySelector(".stills").before(target);
  const spec = JSON.parse(figure.querySelector("script").textContent);
  try {
    const {view} = await window.regatta.embed(target, spec, {
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false,
      tooltip: {disableDefaultStyle: true, theme: "page"},
    });
    views.push(view);
    figure.classList.add("is-live");
  } catch (error) {
    target.remove(); // the still picture stays
    console.error(error);
  }
}

function pick(label) {
  picked = picked === label ? "" : label;
  for (const key of document.querySelectorAll(".key")) {
    key.setAttribute("aria-pressed", String(key.dataset.level === picked));
    key.classList.toggle("faded", picked !== "" && key.dataset.level !== picked);
  }
  for (const view of views) view.signal("picked", picked).runAsync();
}

function compare(a, b, numeric) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, {numeric: true});
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
      const numeric = rows.every((row) => key(row) === "" || Number.isFinite(Number(key(row))));
      rows.sort((a, b) => {
        const order = compare(key(a), key(b), numeric);
        return down && key(a) !== "" && key(b) !== "" ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
for (const key of document.querySelectorAll("button.key")) {
  key.disabled = false;
  key.addEventListener("click", () => pick(key.dataset.level));
}
await Promise.all([...document.querySelectorAll("figure.chart")].map(bring));
document.documentElement.dataset.ready = "yes";
