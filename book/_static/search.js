/* The search page: both spellings of a word, sections beside pages, and first of all the chapter
   that explains what was asked for, as the glossary names it. Sphinx's own search does the rest. */
(() => {
  "use strict";
  // Endings that are spelt in two ways.
  const SPELT = [
    [/is(?=(e[drs]?|ers|ing|ations?)$)/, "iz"],
    [/iz(?=(e[drs]?|ers|ing|ations?)$)/, "is"],
    [/ys(?=(e[drs]?|ing)$)/, "yz"],
    [/yz(?=(e[drs]?|ing)$)/, "ys"],
    [/our(?=(s|ed|ing|less|ful)?$)/, "or"],
    [/or(?=(s|ed|ing|less|ful)?$)/, "our"],
  ];
  const FIRST = 1000; // more than any score of Sphinx

  const stems = (text) => splitQuery(text.toLowerCase()).map((word) => new Stemmer().stemWord(word));

  const isKnown = (word) => {
    const [stem] = stems(word);
    const { terms, titleterms } = Search._index;
    return stem !== undefined && (Object.hasOwn(terms, stem) || Object.hasOwn(titleterms, stem));
  };

  const spelled = (word) => {
    if (isKnown(word)) return word;
    const others = SPELT.map(([ending, other]) => word.replace(ending, other));
    return others.find((other) => other !== word && isKnown(other)) ?? word;
  };

  // Sections in whose titles all words are, in the form Sphinx has for a result.
  const sections = (words) => {
    const { alltitles, docnames, filenames, titles } = Search._index;
    const found = [];
    for (const [title, places] of Object.entries(alltitles)) {
      const own = stems(title);
      if (!words.size || ![...words].every((word) => own.includes(word))) continue;
      const score = Math.round((Scorer.title * words.size) / own.length);
      for (const [file, id] of places)
        if (id !== null)
          found.push([docnames[file], `${titles[file]} > ${title}`, `#${id}`, null, score, filenames[file]]);
    }
    return found;
  };

  // The page of the chapter that explains it, if the glossary has it.
  const explained = (query) => {
    const { docnames, filenames, titles } = Search._index;
    const key = stems(query).join(" ");
    const term = Object.keys(llamaEduTerms).find((one) => stems(one).join(" ") === key);
    const file = docnames.indexOf(llamaEduTerms[term]);
    return file < 0 ? [] : [[docnames[file], titles[file], "", null, FIRST, filenames[file]]];
  };

  // A page from a file may not read the others, so there are no lines out of them.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  const { query, _performSearch } = Search;
  Search.query = (text) => query(text.replace(/[\p{L}]+/gu, spelled));
  Search._performSearch = (text, words, ...others) => {
    const place = ([doc, , anchor]) => `${doc}${anchor ?? ""}`;
    const best = new Map();
    // Sphinx lists the best last. One line for a place: the one with the higher score.
    const all = [..._performSearch(text, words, ...others), ...sections(words), ...explained(text)];
    for (const result of all) {
      const before = best.get(place(result));
      if (!before || before[4] <= result[4]) best.set(place(result), result);
    }
    return [...best.values()].sort((a, b) => a[4] - b[4]);
  };
})();
