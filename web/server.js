/* server.js - whether the server is there, by reading its metrics once a second while the page is seen.
 * What was read goes to the Engine view. */
import { ApiError, readMetrics } from "./api.js";
import { parseMetrics } from "./metrics.js";

const EVERY = 1000; // ms

/* Events: "state" (detail: what it is now), "sample" (detail: {time, metrics}). */
export const changes = new EventTarget();

let state = "unknown"; // then "up", "down", or "locked": up, and it asks for a key

function become(now) {
  if (now !== state) {
    state = now;
    changes.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

async function look() {
  try {
    const text = await readMetrics();
    const detail = { time: performance.now() / 1000, metrics: parseMetrics(text) };
    become("up");
    changes.dispatchEvent(new CustomEvent("sample", { detail }));
  } catch (error) {
    become(error instanceof ApiError && error.status === 401 ? "locked" : error instanceof ApiError && error.status > 0 ? "up" : "down");
  }
}

/* Someone else learned that a key is asked for. */
export function lock() {
  become("locked");
}

/* There is another key to try. */
export function unlock() {
  become("unknown");
}

export async function watch() {
  for (;;) {
    if (!document.hidden && state !== "locked") {
      await look();
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}
