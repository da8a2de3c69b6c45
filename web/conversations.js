/* conversations.js - the conversations there are, and which one is open. Tells `changes` what
 * happened; draws nothing.
 *
 * A conversation: {id, title, created, updated, settings, messages}. A message: {role, content,
 * time}, and of an answer also {model, reasoning, state, error, finish, usage,
 * firstSeconds, lastSeconds, thinkingSeconds, pieces, speed}; state is "running", "done", "stopped" or "failed".
 */
import * as store from "./store.js";

/* Events: "list" (what there is, or a title), "open" (which one is), "message" (detail: the
 * conversation whose messages are others now), "unsaved" (detail: why the browser did not keep one). */
export const changes = new EventTarget();

const conversations = new Map(); // by id
let current = null;

function tell(name, detail = null) {
  changes.dispatchEvent(new CustomEvent(name, { detail }));
}

/* crypto.randomUUID is there on https and localhost only. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/* An answer that was running when its page went away is not running any more. */
function settle(conversation) {
  const left = conversation.messages.filter((message) => message.state === "running");
  for (const message of left) {
    message.state = "stopped";
  }
  return left.length > 0;
}

/* isBusy(conversation): this page is at it, and what another tab has of it is older. */
export async function load(isBusy) {
  for (const record of await store.readAll()) {
    conversations.set(record.id, record);
    if (settle(record)) {
      save(record);
    }
  }
  store.watch((id, record) => {
    if (id === null) {
      forgetAll();
    } else if (record === undefined) {
      forget(id);
    } else if (!conversations.has(id) || !isBusy(conversations.get(id))) {
      takeIn(record);
    }
  });
  tell("list");
}

function takeIn(record) {
  conversations.set(record.id, record);
  tell("list");
  if (current?.id === record.id) {
    current = record;
    tell("message", record);
  }
}

function forget(id) {
  conversations.delete(id);
  tell("list");
  if (current?.id === id) {
    open(null);
  }
}

function forgetAll() {
  conversations.clear();
  tell("list");
  open(null);
}

/* Latest first. */
export function list() {
  return [...conversations.values()].sort((a, b) => b.updated - a.updated);
}

export function opened() {
  return current;
}

export function open(conversation) {
  current = conversation;
  tell("open");
}

/* A conversation begins with its first message. */
export function begin(settings) {
  const now = Date.now();
  const conversation = { id: newId(), title: "", created: now, updated: now, settings, messages: [] };
  conversations.set(conversation.id, conversation);
  return conversation;
}

export function save(conversation) {
  return store.write(conversation).catch((error) => tell("unsaved", error));
}

/* After its messages were changed, by whom it was asked: it moves to the front. */
export function touch(conversation) {
  conversation.updated = Date.now();
  if (conversation.title === "" && conversation.messages.length > 0) {
    const line = conversation.messages[0].content.trim().split("\n", 1)[0];
    conversation.title = line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
  }
  tell("list");
  tell("message", conversation);
  return save(conversation);
}

export function rename(conversation, title) {
  conversation.title = title;
  tell("list");
  return save(conversation);
}

export function remove(conversation) {
  forget(conversation.id);
  return store.remove(conversation.id);
}

/* Undoes `remove`. */
export function restore(conversation) {
  conversations.set(conversation.id, conversation);
  tell("list");
  open(conversation);
  return save(conversation);
}

export function clear() {
  forgetAll();
  return store.clear();
}

/* --- files --- */

const FORMAT = "mistral.c conversations";

export function exported() {
  return JSON.stringify({ format: FORMAT, version: 1, exported: new Date().toISOString(), conversations: list() }, null, 1);
}

function isText(value) {
  return typeof value === "string";
}

function messageFrom(raw) {
  if (!["user", "assistant"].includes(raw?.role) || !isText(raw.content)) {
    throw new Error("a message in it is none");
  }
  const message = { role: raw.role, content: raw.content, time: Number(raw.time) || 0 };
  if (raw.role === "user") {
    return message;
  }
  const texts = ["model", "reasoning", "error", "finish"].filter((name) => isText(raw[name]));
  const numbers = ["firstSeconds", "lastSeconds", "thinkingSeconds", "pieces", "speed"].filter((name) => Number.isFinite(raw[name]));
  for (const name of [...texts, ...numbers]) {
    message[name] = raw[name];
  }
  message.state = ["done", "stopped", "failed"].includes(raw.state) ? raw.state : "stopped";
  if ([raw.usage?.prompt, raw.usage?.completion, raw.usage?.cached].every(Number.isFinite)) {
    message.usage = { prompt: raw.usage.prompt, completion: raw.usage.completion, cached: raw.usage.cached };
  }
  return message;
}

function conversationFrom(raw) {
  if (!isText(raw?.id) || !isText(raw.title) || !Number.isFinite(raw.updated) || !Array.isArray(raw.messages)) {
    throw new Error("a conversation in it is none");
  }
  const settings = Object.fromEntries(Object.entries(raw.settings ?? {}).filter(([, value]) => isText(value) || Number.isFinite(value)));
  return { id: raw.id, title: raw.title, created: Number(raw.created) || 0, updated: raw.updated, settings, messages: raw.messages.map(messageFrom) };
}

/* Takes in what is new or newer → how many those were. All or nothing. */
export async function importFrom(text) {
  const file = JSON.parse(text);
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("it was not exported from this page");
  }
  const wanted = file.conversations.map(conversationFrom).filter((one) => !(conversations.get(one.id)?.updated >= one.updated));
  for (const conversation of wanted) {
    await save(conversation);
    takeIn(conversation);
  }
  return wanted.length;
}
