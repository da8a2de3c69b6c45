/* settings.js - model, system prompt and sampling: what they are, and the dialog that changes them. They
 * belong to a conversation; a new one begins with those that were last chosen. What is left empty is
 * not sent, so the server's own default holds. */
import * as conversations from "./conversations.js";
import { byId, element } from "./dom.js";

const STORED = "settings";

/* As the API has them (docs/http-api.md). */
const fields = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: "any", hint: "0 always takes the likeliest token" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: "any", hint: "the likeliest tokens that add up to this" },
  { name: "top_k", label: "Top k", min: 0, step: 1, hint: "so many of the likeliest; 0: all" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: "any", hint: "at least this share of the likeliest" },
  { name: "max_tokens", label: "Most tokens", min: 1, step: 1, hint: "of one answer" },
  { name: "seed", label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, hint: "the same one gives the same answer" },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.01, max: 100, step: "any", hint: "1 is none" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: "any", hint: "on what was said" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: "any", hint: "the more, the more often" },
  {
    name: "reasoning_effort", label: "Thinking", hint: "where the model can",
    choices: { "": "as the model does", none: "off", low: "little", medium: "some", high: "much" },
  },
];

let latest = {};
try {
  latest = JSON.parse(localStorage.getItem(STORED)) ?? {};
} catch {
  // none, or none that can be read
}

/* Those of the open conversation, or what a new one would have. */
export function current() {
  return conversations.opened()?.settings ?? latest;
}

export function forNewConversation() {
  return { ...latest };
}

/* "" takes a setting back. */
export function change(name, value) {
  const conversation = conversations.opened();
  const changed = { ...current(), [name]: value };
  if (value === "") {
    delete changed[name];
  }
  latest = { ...changed };
  if (conversation !== null) {
    conversation.settings = changed;
    conversations.save(conversation);
  }
  try {
    localStorage.setItem(STORED, JSON.stringify(latest));
  } catch {
    // they hold until the page is left
  }
}

/* What a request says besides its model and messages. */
export function requestFields(settings) {
  return Object.fromEntries(fields.map((field) => [field.name, settings[field.name]]).filter(([, value]) => value !== undefined));
}

/* --- the dialog --- */

function take(field, input) {
  if (!input.checkValidity()) {
    input.reportValidity();
    return;
  }
  const { value } = input;
  change(field.name, value === "" || field.choices ? value : Number(value));
}

function control(field) {
  const id = `setting-${field.name}`;
  const shared = { id, "aria-describedby": `${id}-hint`, onchange: (event) => take(field, event.target) };
  const input = field.choices
    ? element("select", shared, ...Object.entries(field.choices).map(([value, label]) => element("option", { value }, label)))
    : element("input", { ...shared, type: "number", inputmode: "decimal", min: field.min, max: field.max, step: field.step, placeholder: "default" });
  return element("div", { class: "field" },
    element("label", { for: id }, field.label), input, element("span", { class: "hint", id: `${id}-hint` }, field.hint));
}

function fill() {
  const settings = current();
  byId("system-prompt").value = settings.system ?? "";
  for (const field of fields) {
    byId(`setting-${field.name}`).value = settings[field.name] ?? "";
  }
}

export function setUp() {
  byId("sampling").append(...fields.map(control));
  byId("system-prompt").addEventListener("change", (event) => change("system", event.target.value));
  byId("open-settings").addEventListener("click", () => {
    fill();
    byId("settings").showModal();
  });
  byId("reset-settings").addEventListener("click", () => {
    for (const name of ["system", ...fields.map((field) => field.name)]) {
      change(name, "");
    }
    fill();
  });
}
