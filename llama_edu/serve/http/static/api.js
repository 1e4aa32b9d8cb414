// The server, as the page sees it: the same addresses any other client uses.

/** An answer that says no. `status` is 0 if there was no answer. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfter = null } = {}) {
    super(message); // for programs; words.js has what people read
    Object.assign(this, { status, code, param, retryAfter });
  }

  get isLost() {
    return this.status === 0;
  }
}

const LOST = "The server cannot be reached.";
const KEY = "llama_edu.key"; // in sessionStorage: it ends with this tab

export const setKey = (key) => sessionStorage.setItem(KEY, key);

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new ApiError(LOST);
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  throw new ApiError(error?.message ?? "", {
    status: answer.status,
    code: error?.code,
    param: error?.param,
    retryAfter: answer.headers.get("Retry-After"),
  });
}

export async function models() {
  return (await (await ask("/v1/models")).json()).data;
}

let tell;
const told = new Promise((resolve) => (tell = resolve));

/** Say that the models are known, and one is chosen. */
export const modelsAreKnown = () => tell();

/** Whoever is quicker than the list of models waits for it, until it comes or they stop. */
export async function knownModels(signal) {
  const stopped = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  await Promise.race([told, stopped]);
}

export async function isReady() {
  try {
    return (await fetch("/readyz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

const post = (path, body, signal) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

/** How many tokens a conversation is for the model, with the opening of the reply that may follow. */
export async function countTokens(model, messages, signal) {
  const { prompt } = await (await post("/apply-template", { model, messages }, signal)).json();
  const body = { model, content: prompt, parse_special: true };
  return (await (await post("/tokenize", body, signal)).json()).count;
}

/**
 * The chunks of a stream, as they come. Throws `ApiError` if the server refuses, fails half-way,
 * or falls silent before its last word.
 */
export async function* stream(path, body, signal) {
  const whole = { ...body, stream: true, stream_options: { include_usage: true } };
  const answer = await post(path, whole, signal);
  for await (const data of frames(answer.body.getReader())) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, { status: 500, code: chunk.error.code });
    yield chunk;
  }
  throw new ApiError(LOST);
}

/** What stands behind `data: ` in each frame; a frame ends with an empty line. */
async function* frames(reader) {
  const decoder = new TextDecoder();
  let waiting = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      waiting += decoder.decode(value, { stream: true });
      const parts = waiting.split("\n\n");
      waiting = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
    }
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new ApiError(LOST);
  } finally {
    reader.cancel().catch(() => {});
  }
}
