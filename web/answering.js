/* answering.js - has the server answer a conversation, and keeps what comes in its last message.
 * Several conversations may be answered at once. Draws nothing. */
import { ApiError, streamChat } from "./api.js";
import * as conversations from "./conversations.js";
import { requestFields } from "./settings.js";

const SAVED_EVERY = 1000; // ms, while an answer grows

const running = new Map(); // conversation id → AbortController

/* Events: "needs-key" (detail: the conversation) when the server asks for one. */
export const trouble = new EventTarget();

export function isRunning(conversation) {
  return conversation !== null && running.has(conversation.id);
}

export function stop(conversation) {
  running.get(conversation?.id)?.abort();
}

/* A question whose answer never came is left out: templates want the roles in turns. */
function wireMessages(conversation) {
  const wire = [];
  for (const message of conversation.messages) {
    if (message.role === "user") {
      if (wire.at(-1)?.role === "user") {
        wire.pop();
      }
      wire.push({ role: "user", content: message.content });
    } else if (message.content !== "") {
      wire.push({ role: "assistant", content: message.content });
    }
  }
  const system = conversation.settings.system?.trim();
  return system ? [{ role: "system", content: system }, ...wire] : wire;
}

function takeTimings(message, chunk) {
  const { usage, timings } = chunk;
  message.usage = {
    prompt: usage.prompt_tokens,
    completion: usage.completion_tokens,
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
  };
  if (timings?.predicted_per_second > 0) {
    message.speed = timings.predicted_per_second;
  }
}

function takeText(message, delta, seconds) {
  const text = delta.content ?? "";
  const reasoning = delta.reasoning_content ?? "";
  if (text === "" && reasoning === "") {
    return;
  }
  message.firstSeconds ??= seconds;
  message.lastSeconds = seconds;
  message.pieces++;
  if (message.reasoning !== "" && message.content === "" && text !== "") {
    message.thinkingSeconds = seconds - message.firstSeconds;
  }
  message.reasoning += reasoning;
  message.content += text;
}

async function receive(conversation, message, signal) {
  const started = performance.now();
  let saved = started;
  const request = { model: conversation.settings.model || undefined, messages: wireMessages(conversation), ...requestFields(conversation.settings) };
  for await (const chunk of streamChat(request, signal)) {
    const now = performance.now();
    const choice = chunk.choices[0];
    message.model = chunk.model;
    if (choice) {
      takeText(message, choice.delta ?? {}, (now - started) / 1000);
      message.finish = choice.finish_reason ?? message.finish;
    }
    if (chunk.usage) {
      takeTimings(message, chunk);
    }
    if (now - saved > SAVED_EVERY) {
      saved = now;
      conversations.save(conversation);
    }
  }
}

/* Pieces are about a token each: what is known while an answer grows, or when it was stopped. */
export function roughSpeed(message) {
  const seconds = message.lastSeconds - message.firstSeconds;
  return seconds > 0 ? (message.pieces - 1) / seconds : 0;
}

/* Answers the last question. */
export async function answer(conversation) {
  const controller = new AbortController();
  const message = {
    role: "assistant", content: "", reasoning: "", time: Date.now(), pieces: 0,
    model: conversation.settings.model ?? "", state: "running",
  };
  conversation.messages.push(message);
  running.set(conversation.id, controller);
  conversations.touch(conversation);
  try {
    await receive(conversation, message, controller.signal);
    message.state = "done";
  } catch (error) {
    message.state = controller.signal.aborted ? "stopped" : "failed";
    if (message.state === "failed") {
      message.error = error.message;
    }
    if (error instanceof ApiError && error.status === 401) {
      trouble.dispatchEvent(new CustomEvent("needs-key", { detail: conversation }));
    }
  }
  running.delete(conversation.id);
  conversations.touch(conversation);
}

/* The question again, or the last answer again: what came after it goes. */
export function answerAgain(conversation) {
  while (conversation.messages.at(-1)?.role === "assistant") {
    conversation.messages.pop();
  }
  return answer(conversation);
}

/* Another text for one of the questions; what came after it goes. */
export function askAgain(conversation, index, content) {
  conversation.messages.splice(index);
  conversation.messages.push({ role: "user", content, time: Date.now() });
  return answer(conversation);
}

/* Before the page goes away, and the requests with it. */
export function stopAll() {
  for (const conversation of conversations.list().filter(isRunning)) {
    conversation.messages.at(-1).state = "stopped";
    conversations.save(conversation);
    stop(conversation);
  }
}
