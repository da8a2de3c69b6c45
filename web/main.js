/* main.js - puts the parts of the page together. */
import { listModels } from "./api.js";
import * as answering from "./answering.js";
import * as chat from "./chat.js";
import * as conversations from "./conversations.js";
import { byId, element, icon, notify, setIcon } from "./dom.js";
import * as engine from "./engine.js";
import * as key from "./key.js";
import * as server from "./server.js";
import * as settings from "./settings.js";
import * as sidebar from "./sidebar.js";
import { isLasting } from "./store.js";

/* --- which view is seen: the address says --- */

function showView() {
  const name = location.hash === "#engine" ? "engine" : "chat";
  for (const link of document.querySelectorAll("#views a")) {
    const isCurrent = link.hash === `#${name}`;
    byId(link.dataset.view).hidden = !isCurrent;
    if (isCurrent) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  byId("model-choice").hidden = name !== "chat";
  byId("open-settings").hidden = name !== "chat";
  if (name === "chat") {
    chat.focusPrompt();
  }
  engine.setVisible(name === "engine");
}

/* --- models --- */

let models = null; // not known yet

function showModels() {
  const known = models ?? [];
  const chosen = settings.current().model ?? known[0] ?? "";
  const names = chosen === "" || known.includes(chosen) ? known : [chosen, ...known];
  byId("model").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  byId("model").value = chosen;
  byId("model").disabled = names.length === 0;
  byId("no-model").hidden = names.length > 0 || models === null;
}

async function readModels() {
  try {
    models = await listModels();
    showModels();
  } catch {
    // the next time the server is there
  }
}

/* --- the server comes and goes --- */

async function unlock(conversation = null) {
  if (await key.askForKey()) {
    server.unlock();
    if (conversation !== null) {
      chat.tryAgain(conversation);
    }
  }
}

function onState(event) {
  const state = event.detail;
  byId("outage").hidden = state !== "down";
  byId("locked").hidden = state !== "locked";
  engine.setServerState(state);
  if (state === "up") {
    readModels();
  } else if (state === "locked") {
    unlock();
  }
}

/* --- the rest of the head --- */

function showTheme() {
  const { current } = globalThis.theme;
  const names = { auto: "as the system has it", light: "light", dark: "dark" };
  setIcon(byId("theme"), current, `Colours: ${names[current]}`);
}

function setUpButtons() {
  for (const button of document.querySelectorAll("[data-icon]")) {
    button.append(icon(button.dataset.icon));
  }
  byId("theme").addEventListener("click", () => {
    globalThis.theme.next();
    showTheme();
  });
  showTheme();
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close(button.dataset.close));
  }
  byId("give-key").addEventListener("click", () => unlock());
}

async function start() {
  setUpButtons();
  settings.setUp();
  chat.setUp();
  sidebar.setUp();
  key.setUp();
  engine.setUp();
  byId("model").addEventListener("change", (event) => settings.change("model", event.target.value));
  conversations.changes.addEventListener("open", showModels);
  conversations.changes.addEventListener("unsaved", (event) => notify(`The browser did not keep this conversation: ${event.detail.message}`));
  answering.trouble.addEventListener("needs-key", (event) => {
    server.lock();
    unlock(event.detail);
  });
  server.changes.addEventListener("state", onState);
  addEventListener("hashchange", showView);
  showView();
  server.watch();
  await conversations.load(answering.isRunning);
  if (conversations.opened() === null) {
    conversations.open(conversations.list()[0] ?? null);
  }
  if (!await isLasting()) {
    notify("This browser does not let the page keep conversations: they are gone when the page is.");
  }
}

start();
