// What comes first in the search. Sphinx's own scores, but for `score`: a term that only has the word
// in it comes behind titles, and of pages that mention it those to look up come first.
const FIRST = { symptoms: 5, start: 4, map: 4, own_data: 4, package: -4 };
var Scorer = {
  score: ([page, , , , score, , kind]) => (kind === "index" && score < 100 ? 10 : score) + (FIRST[page] ?? 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
