// The server, as the page sees it: the same addresses any other client uses.

/** An answer that says no. `status` is 0 if there was no answer. */
export class ApiError extends Error {
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
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
  const message = error?.message ?? `The server answered ${answer.status}.`;
  throw new ApiError(message, answer.status, answer.headers.get("Retry-After"));
}

export async function models() {
  return (await (await ask("/v1/models")).json()).data;
}

export async function isReady() {
  try {
    return (await fetch("/readyz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/**
 * The chunks of a stream, as they come. Throws `ApiError` if the server refuses, fails half-way,
 * or falls silent before its last word.
 */
export async function* stream(path, body, signal) {
  const answer = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of frames(answer.body.getReader())) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, 500);
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
