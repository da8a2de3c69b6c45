/* sidebar.js - the list of conversations, and what can be done with them. */
import * as answering from "./answering.js";
import * as conversations from "./conversations.js";
import { byId, element, iconButton, notify } from "./dom.js";
import { focusPrompt } from "./chat.js";

let renaming = null; // the conversation whose title is a field

/* --- the drawer, where the window is narrow --- */

const isNarrow = matchMedia("(width < 56rem)");

function setDrawer(isOpen) {
  const sidebar = byId("sidebar");
  sidebar.classList.toggle("open", isOpen);
  sidebar.inert = isNarrow.matches && !isOpen;
  byId("scrim").hidden = !isOpen;
  byId("open-sidebar").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) {
    byId("new-chat").focus();
  } else if (isNarrow.matches && sidebar.contains(document.activeElement)) {
    byId("open-sidebar").focus();
  }
}

/* --- the list --- */

function choose(conversation) {
  conversations.open(conversation);
  location.hash = "chat";
  setDrawer(false);
  focusPrompt();
}

function remove(conversation) {
  answering.stop(conversation);
  conversations.remove(conversation);
  notify(`“${conversation.title}” was deleted.`, { label: "Undo", run: () => conversations.restore(conversation) });
}

function titleField(conversation) {
  const field = element("input", { type: "text", "aria-label": "Title", maxlength: "200" });
  const end = (keep) => {
    if (renaming === conversation) {
      renaming = null;
      conversations.rename(conversation, (keep && field.value.trim()) || conversation.title);
    }
  };
  field.value = conversation.title;
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault(); // or the button that gets the focus is pressed
      end(event.key === "Enter");
    }
  });
  field.addEventListener("blur", () => end(true));
  return field;
}

function item(conversation) {
  const isOpen = conversation === conversations.opened();
  if (renaming === conversation) {
    return element("li", { class: "current" }, titleField(conversation));
  }
  const rename = () => {
    renaming = conversation;
    show();
    byId("conversation-list").querySelector("input").select();
  };
  return element("li", { class: isOpen ? "current" : null },
    element("button", { type: "button", class: "title", "aria-current": isOpen ? "true" : null, onclick: () => choose(conversation) }, conversation.title),
    iconButton("edit", `Rename “${conversation.title}”`, rename),
    iconButton("remove", `Delete “${conversation.title}”`, () => remove(conversation)));
}

/* Who is in the list with the keyboard stays at the same thing, or at the next best. */
function keepFocus(list, draw) {
  const { activeElement } = document;
  const label = (button) => button.ariaLabel ?? button.textContent;
  const isInside = list.contains(activeElement);
  draw();
  if (isInside) {
    const same = [...list.querySelectorAll("button")].find((button) => label(button) === label(activeElement));
    (same ?? list.querySelector(".current .title") ?? byId("new-chat")).focus();
  }
}

function show() {
  const list = byId("conversation-list");
  const all = conversations.list();
  if (renaming === null || list.querySelector("input") === null) { // a title that is being typed is left alone
    keepFocus(list, () => list.replaceChildren(...all.map(item)));
  }
  byId("no-conversations").hidden = all.length > 0;
  const title = conversations.opened()?.title;
  document.title = title ? `${title} – mistral.c` : "mistral.c";
  byId("chat-title").textContent = title || "New chat";
}

/* --- files --- */

function download() {
  const address = URL.createObjectURL(new Blob([conversations.exported()], { type: "application/json" }));
  element("a", { href: address, download: `mistral-conversations-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function upload(event) {
  const [file] = event.target.files;
  event.target.value = "";
  try {
    const count = await conversations.importFrom(await file.text());
    notify(count === 0 ? "Nothing in the file is new." : `${count} ${count === 1 ? "conversation" : "conversations"} imported.`);
  } catch (error) {
    notify(`The file was not imported: ${error.message}.`);
  }
}

function clearAll() {
  const dialog = byId("clear-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "clear") {
      conversations.list().forEach(answering.stop);
      conversations.clear();
      byId("settings").close();
    }
  }, { once: true });
}

export function setUp() {
  byId("new-chat").addEventListener("click", () => choose(null));
  byId("open-sidebar").addEventListener("click", () => setDrawer(true));
  byId("close-sidebar").addEventListener("click", () => setDrawer(false));
  byId("scrim").addEventListener("click", () => setDrawer(false));
  byId("sidebar").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isNarrow.matches) {
      event.stopPropagation();
      setDrawer(false);
    }
  });
  isNarrow.addEventListener("change", () => setDrawer(false));
  byId("export").addEventListener("click", download);
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", upload);
  byId("clear").addEventListener("click", clearAll);
  conversations.changes.addEventListener("list", show);
  conversations.changes.addEventListener("open", show);
  setDrawer(false);
}
