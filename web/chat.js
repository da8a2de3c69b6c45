/* chat.js - the open conversation and the field below it. */
import * as answering from "./answering.js";
import * as conversations from "./conversations.js";
import { announce, byId, element, setIcon } from "./dom.js";
import { announceEnd, createAnswer, createQuestion } from "./messages.js";
import * as settings from "./settings.js";

const NEAR_END = 48; // px from the end within which the view follows what comes
const WAITED_EVERY = 500; // ms, while nothing has come

const suggestions = [
  "Explain how a B-tree finds a key",
  "Write a shell script that renames photos by their date",
  "Give me a table of the planets with their moons",
];

const shown = []; // {message, view} of the open conversation, in order
let follows = true;
let turning = false;

/* --- the messages --- */

function viewOf(conversation, index) {
  const message = conversation.messages[index];
  if (message.role === "user") {
    return createQuestion(message, { askAgain: (text) => run(conversation, () => answering.askAgain(conversation, index, text)) });
  }
  return createAnswer(message, { again: () => run(conversation, () => answering.answerAgain(conversation)) });
}

function scrollToEnd() {
  const scroller = byId("messages");
  scroller.scrollTop = scroller.scrollHeight;
}

function noticeScroll() {
  const { scrollHeight, scrollTop, clientHeight } = byId("messages");
  follows = scrollHeight - scrollTop - clientHeight < NEAR_END;
  byId("to-end").hidden = follows;
}

/* Keeps the elements of messages that are still the same. */
function show() {
  const conversation = conversations.opened();
  const messages = conversation?.messages ?? [];
  const log = byId("log");
  let same = 0;
  while (same < shown.length && shown[same].message === messages[same]) {
    same++;
  }
  for (const { view } of shown.splice(same)) {
    view.root.remove();
  }
  for (let i = same; i < messages.length; i++) {
    const view = viewOf(conversation, i);
    shown.push({ message: messages[i], view });
    log.append(view.root);
  }
  for (const { view } of shown) {
    view.update();
  }
  byId("welcome").hidden = messages.length > 0;
  showState();
  if (follows) {
    scrollToEnd();
  }
  turn();
}

/* While an answer grows, as often as the screen is drawn. */
function turn() {
  const conversation = conversations.opened();
  if (turning || !answering.isRunning(conversation)) {
    return;
  }
  turning = true;
  let pieces = -1;
  let drawn = 0;
  requestAnimationFrame(function frame(now) {
    const last = shown.at(-1);
    if (!answering.isRunning(conversations.opened()) || last === undefined) {
      turning = false;
      return;
    }
    if (last.message.pieces !== pieces || now - drawn > WAITED_EVERY) {
      pieces = last.message.pieces;
      drawn = now;
      last.view.update();
      if (follows) {
        scrollToEnd();
      }
    }
    requestAnimationFrame(frame);
  });
}

/* --- asking --- */

async function run(conversation, begin) {
  if (answering.isRunning(conversation)) {
    return;
  }
  follows = true;
  announce("The answer is being written.");
  const ended = begin();
  byId("prompt").focus();
  await ended;
  if (conversation === conversations.opened()) {
    announceEnd(conversation.messages.at(-1));
  }
}

function send(text) {
  let conversation = conversations.opened();
  if (text.trim() === "" || answering.isRunning(conversation)) {
    return;
  }
  if (conversation === null) {
    conversation = conversations.begin(settings.forNewConversation());
    conversations.open(conversation);
  }
  conversation.messages.push({ role: "user", content: text, time: Date.now() });
  byId("prompt").value = "";
  fitPrompt();
  run(conversation, () => answering.answer(conversation));
}

export function tryAgain(conversation) {
  run(conversation, () => answering.answerAgain(conversation));
}

/* --- the field --- */

function fitPrompt() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

function showState() {
  const isRunning = answering.isRunning(conversations.opened());
  const button = byId("send");
  if (button.dataset.runs !== String(isRunning)) {
    button.dataset.runs = String(isRunning);
    setIcon(button, isRunning ? "stop" : "send", isRunning ? "Stop" : "Send");
  }
  button.disabled = !isRunning && byId("prompt").value.trim() === "";
}

function onPromptKey(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send(event.target.value);
  }
}

function onPageKey(event) {
  if (event.key === "Escape" && document.querySelector("dialog[open]") === null && answering.isRunning(conversations.opened())) {
    answering.stop(conversations.opened());
  }
}

function welcome() {
  byId("suggestions").append(...suggestions.map((text) =>
    element("li", {}, element("button", { type: "button", onclick: () => send(text) }, text))));
}

/* A keyboard that covers half of the screen is not called up unasked. */
export function focusPrompt() {
  if (matchMedia("(hover: hover)").matches) {
    byId("prompt").focus();
  }
}

export function setUp() {
  const prompt = byId("prompt");
  welcome();
  prompt.addEventListener("keydown", onPromptKey);
  prompt.addEventListener("input", () => { fitPrompt(); showState(); });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (answering.isRunning(conversations.opened())) {
      answering.stop(conversations.opened());
      prompt.focus();
    } else {
      send(prompt.value);
    }
  });
  byId("messages").addEventListener("scroll", noticeScroll, { passive: true });
  byId("to-end").addEventListener("click", () => { follows = true; scrollToEnd(); });
  document.addEventListener("keydown", onPageKey);
  addEventListener("pagehide", answering.stopAll);
  conversations.changes.addEventListener("open", () => { follows = true; show(); });
  conversations.changes.addEventListener("message", (event) => {
    if (event.detail === conversations.opened()) {
      show();
    }
  });
}
