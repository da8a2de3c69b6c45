/* api.js - asks the server that the page came from. Addresses are relative: a proxy may put the
 * server below a path of its own. */

const KEY = "api-key";

/* Why a request got no answer, or not the one that was hoped for. `status` 0: nobody answered. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/* The key is this tab's alone, and gone with it. */
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // the browser keeps nothing for this page
}

export function hasKey() {
  return key !== null;
}

export function setKey(value) {
  key = value || null;
  try {
    if (key === null) {
      sessionStorage.removeItem(KEY);
    } else {
      sessionStorage.setItem(KEY, key);
    }
  } catch {
    // it holds until the page is left
  }
}

async function messageOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

/* Rejects with an ApiError, or with the signal's reason. */
async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key !== null) {
    headers.Authorization = `Bearer ${key}`;
  }
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { cache: "no-store", ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) {
      throw error;
    }
    throw new ApiError("The server does not answer.", 0);
  }
  if (!response.ok) {
    throw new ApiError(await messageOf(response), response.status);
  }
  return response;
}

export async function listModels() {
  const list = await (await ask("v1/models")).json();
  return list.data.map((model) => model.id);
}

export async function readMetrics() {
  const response = await ask("metrics", { headers: { Accept: "text/plain" }, signal: AbortSignal.timeout(5000) });
  return response.text();
}

/* The data of each event of a stream; an event is what stands before an empty line. */
async function* eventsOf(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const events = (pending + value).split("\n\n");
      pending = events.pop();
      for (const event of events) {
        if (event.startsWith("data: ")) {
          yield event.slice("data: ".length);
        }
      }
    }
  } catch (error) {
    throw signal.aborted ? error : new ApiError("The connection to the server was lost.", 0);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/* The chunks of a chat completion as they come. Ends after the last one; an answer that breaks off
 * is an ApiError. */
export async function* streamChat(request, signal) {
  const response = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of eventsOf(response.body, signal)) {
    if (data === "[DONE]") {
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) {
      throw new ApiError(chunk.error.message, response.status);
    }
    yield chunk;
  }
  throw new ApiError("The answer broke off.", 0);
}
