// What is wider than its place scrolls, and whoever has no mouse must reach it.
function reachable() {
  for (const box of document.querySelectorAll(".table-wrapper, pre, .mermaid")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
