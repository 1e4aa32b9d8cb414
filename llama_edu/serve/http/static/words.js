// What went wrong, in words for people: what happened, and the way out. The server's own sentences
// are for programs, and are never shown.

const BY_CODE = {
  cross_site: "The server takes this page for another site's. Open it at the address the server names.",
  wrong_host: "The server does not know the name in the address bar. Open it at the address it printed when it began.",
  invalid_api_key: "The server did not accept the key. Type it again above.",
  model_not_found: "This model is no longer served. Choose another one in the settings.",
  queue_full: "The server is busy with others.",
  out_of_memory: "The server has no memory left for this text. Try a shorter one, or wait until others are done.",
  shutting_down: "The server is being stopped. What you wrote is kept here.",
  time_limit: "The reply took longer than the server allows. Ask for fewer tokens, or try again.",
  numerics: "The model's numbers broke. Try again, with a lower temperature.",
  body_too_large: "This text is longer than the server reads. Send less of it.",
  body_timeout: "The text did not reach the server in time. Try again.",
  context_length_exceeded: "This text is longer than the model can read. Shorten it.",
};

const FIELDS = {
  temperature: "the temperature",
  top_k: "top-k",
  top_p: "top-p",
  min_p: "min-p",
  seed: "the seed",
  max_tokens: "the number of new tokens",
  messages: "the conversation",
  prompt: "the beginning",
};

/** A sentence or two about an `ApiError`, or any other. */
export function inWords(problem) {
  if (problem.isLost) return "The server cannot be reached.";
  if (problem.status === undefined) return problem.message; // the page's own, and in words already
  const wait = problem.retryAfter ? ` Try again in ${problem.retryAfter} s.` : "";
  const known = BY_CODE[problem.code];
  if (known) return known + wait;
  if (problem.code === "invalid_value" && problem.param === "prompt") return "There is nothing to go on from: write a beginning.";
  if (problem.param in FIELDS) return `The model cannot use ${FIELDS[problem.param]} as it is. Change it, and try again.`;
  if (problem.status >= 500) return `Something broke in the server.${wait || " Try again; if it happens twice, start the server again."}`;
  return "The server did not understand this page. Load the page again: it may be older than the server.";
}
