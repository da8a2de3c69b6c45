/* key.js - asks for the API key when the server does, and tries it before it is kept. */
import { ApiError, hasKey, listModels, setKey } from "./api.js";
import { byId } from "./dom.js";

let waiting = null; // the promise of an open dialog

/* Resolves to true once the server took a key, to false when none was given. */
export function askForKey() {
  waiting ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-problem").textContent = hasKey() ? "The server does not take the key that this tab has." : "";
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      waiting = null;
      resolve(dialog.returnValue === "accepted");
    }, { once: true });
  });
  return waiting;
}

async function tryKey(event) {
  event.preventDefault();
  setKey(byId("key").value.trim());
  try {
    await listModels();
    byId("key").value = "";
    byId("key-dialog").close("accepted");
  } catch (error) {
    byId("key-problem").textContent = error instanceof ApiError && error.status === 401 ? "The server does not take this key." : error.message;
    byId("key").select();
  }
}

export function setUp() {
  byId("key-form").addEventListener("submit", tryKey);
}
