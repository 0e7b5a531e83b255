// The order of search results: first pages and sections whose titles have the words as
// they were typed, then other guides, the names of the reference, and at last evidence,
// the project's own pages and lists of pages.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, title, , , score, , kind]) => {
    if (/^(evidence|project)\/|^(README|index)$/.test(page)) return score / 10;
    if (kind === "object") return score / 3;
    const words = new URLSearchParams(location.search).get("q") || "";
    return title.toLowerCase().includes(words.trim().toLowerCase()) ? score * 3 : score;
  },
};
