/* messages.js - what one message looks like: a question, an answer, what was thought before it, how long
 * it took. Asks others to act. */
import { announce, copyButton, element, iconButton } from "./dom.js";
import { roughSpeed } from "./answering.js";
import { showMarkdown } from "./markdown.js";

const counts = new Intl.NumberFormat("en");

function seconds(value) {
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(value < 100 ? 1 : 0)} s`;
}

function tokens(count) {
  return `${counts.format(count)} ${count === 1 ? "token" : "tokens"}`;
}

/* --- questions --- */

/* `actions.askAgain(text)` sends another text in its place. */
export function createQuestion(message, actions) {
  const bubble = element("div", { class: "bubble" }, message.content);
  const foot = element("div", { class: "foot" });
  const head = element("h2", { class: "visually-hidden" }, "You");
  const root = element("article", { class: "message question", "aria-label": "You" }, head, bubble, foot);
  const show = () => root.replaceChildren(head, bubble, foot);
  const edit = () => {
    const area = element("textarea", { "aria-label": "Your message", rows: "3" });
    const done = () => { show(); foot.firstElementChild.focus(); };
    const send = () => { if (area.value.trim() !== "") { actions.askAgain(area.value); } };
    area.value = message.content;
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        done();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    root.replaceChildren(head, element("div", { class: "editor" }, area, element("div", { class: "row" },
      element("button", { type: "button", onclick: done }, "Cancel"),
      element("button", { type: "button", class: "primary", onclick: send }, "Send"))));
    area.focus();
  };
  foot.append(iconButton("edit", "Edit", edit), copyButton("Copy message", () => message.content));
  return { root, update() {} };
}

/* --- answers --- */

/* What is known of an answer's cost, as short words. */
function facts(message) {
  const said = [];
  if (message.speed || roughSpeed(message) > 0) {
    said.push(message.speed ? `${message.speed.toFixed(1)} tokens/s` : `about ${roughSpeed(message).toFixed(1)} tokens/s`);
  }
  if (message.usage) {
    const { prompt, completion, cached } = message.usage;
    said.push(tokens(completion), `prompt ${tokens(prompt)}${cached > 0 ? `, ${counts.format(cached)} cached` : ""}`);
  } else if (message.pieces > 0) {
    said.push(`about ${tokens(message.pieces)}`);
  }
  if (message.firstSeconds !== undefined) {
    said.push(`first token ${seconds(message.firstSeconds)}`);
  }
  if (message.state === "stopped") {
    said.push("stopped");
  } else if (message.finish === "length") {
    said.push("cut at the most tokens");
  }
  return said;
}

function thinkingTitle(message) {
  if (message.thinkingSeconds !== undefined) {
    return `Thought for ${seconds(message.thinkingSeconds)}`;
  }
  return message.state === "running" ? "Thinking …" : "Thought";
}

function waitingText(message) {
  const waited = Math.floor((Date.now() - message.time) / 1000);
  return waited < 2 ? "Waiting for the first token" : `Waiting for the first token, ${waited} s`;
}

function createThinking() {
  const title = element("summary");
  const text = element("div", { class: "markdown" });
  return { root: element("details", { class: "thinking", hidden: true }, title, text), title, text };
}

/* `actions.again()` asks for another answer. */
export function createAnswer(message, actions) {
  const thinking = createThinking();
  const text = element("div", { class: "markdown" });
  const dots = element("span", { class: "dots", "aria-hidden": "true" }, element("i"), element("i"), element("i"));
  const waited = element("span");
  const waiting = element("p", { class: "waiting", hidden: true }, dots, waited);
  const reason = element("span");
  const failure = element("p", { class: "failure", hidden: true }, reason,
    element("button", { type: "button", onclick: actions.again }, "Try again"));
  const numbers = element("ul", { class: "facts", "aria-label": "Speed and tokens" });
  const foot = element("div", { class: "foot" }, numbers, copyButton("Copy answer", () => message.content),
    iconButton("again", "Regenerate", actions.again, "quiet regenerate"));
  const name = element("h2", { class: "model-name" });
  const root = element("article", { class: "message answer", "aria-label": "Answer" }, name, thinking.root, text, waiting, failure, foot);
  let shown = null;
  return {
    root,
    update() {
      const isRunning = message.state === "running";
      name.textContent = message.model || "model";
      waiting.hidden = !isRunning || message.pieces > 0;
      waited.textContent = waiting.hidden ? "" : waitingText(message);
      failure.hidden = message.state !== "failed";
      reason.textContent = message.error ?? "";
      foot.classList.toggle("growing", isRunning);
      thinking.root.hidden = !message.reasoning;
      thinking.title.textContent = thinkingTitle(message);
      const state = `${message.state} ${message.content.length} ${message.reasoning?.length}`;
      if (state !== shown) {
        shown = state;
        showMarkdown(thinking.text, message.reasoning ?? "");
        showMarkdown(text, message.content);
        numbers.replaceChildren(...facts(message).map((fact) => element("li", {}, fact)));
      }
      root.setAttribute("aria-busy", String(isRunning));
    },
  };
}

/* An answer is read out once it is there, not piece by piece. */
export function announceEnd(message) {
  announce(message.state === "failed" ? `No answer: ${message.error}` : `${message.state === "stopped" ? "Stopped. " : ""}${message.content}`);
}
