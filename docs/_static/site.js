// What is wider than its place scrolls, and whoever has no mouse must reach it.
function reachable() {
  for (const box of document.querySelectorAll(".table-wrapper, pre, .mermaid")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// Sentences in columns are too narrow to read on a phone: there each row becomes a card,
// whose lines name their columns. Tables of figures, which have more, stay as they are.
function cards() {
  for (const table of document.querySelectorAll("table.docutils")) {
    const heads = [...table.querySelectorAll("thead tr > *")];
    const rows = [...table.querySelectorAll("tbody tr")];
    if (rows.some((row) => row.cells.length > 4)) continue;
    table.classList.add("rows-as-cards");
    table.setAttribute("role", "table");
    for (const row of rows) {
      row.setAttribute("role", "row");
      for (const [place, cell] of [...row.cells].entries()) {
        cell.setAttribute("role", "cell");
        const label = heads[place]?.textContent.trim();
        if (label) cell.dataset.label = label;
        if (!cell.textContent.trim()) cell.classList.add("without-text");
      }
    }
  }
}
addEventListener("DOMContentLoaded", cards);
addEventListener("load", reachable);
addEventListener("resize", reachable);
