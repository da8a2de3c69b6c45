/* engine.js - the Engine view: what the server's metrics say, as plots of the last minutes. */
import { byId, element } from "./dom.js";
import { quantile, rate, share, sum } from "./metrics.js";
import { createPlot } from "./plot.js";
import * as server from "./server.js";

const SHOWN = 180; // seconds, at most
const SHOWN_AT_FIRST = 60;
const RATE_OVER = 3; // seconds: a rate over one would only flicker
const QUANTILE_OVER = 30; // seconds

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" });

const formats = {
  count: (value) => counts.format(value),
  rate: (value) => value < 10 && value > 0 ? value.toFixed(1) : short.format(value),
  percent: (value) => `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`,
  bytes: (value) => value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(1)} GiB` : `${(value / 2 ** 20).toFixed(0)} MiB`,
  seconds: (value) => value >= 1 ? `${value.toFixed(value < 10 ? 1 : 0)} s` : `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`,
};

function span(seconds) {
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  return days > 0 ? `${days} d ${hours % 24} h` : hours > 0 ? `${hours} h ${minutes % 60} min` : minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

/* Pages, probes and the lists that pages (this one too) look at are not what the server is there for. */
const ASIDE = new Set(["/", "/web/", "/metrics", "/health", "/slots", "/v1/models", "/api/tags", "/api/ps", "/api/version"]);
const isWork = (labels) => !ASIDE.has(labels.endpoint);
const hasFailed = (labels) => isWork(labels) && labels.status >= "400";
const hasSucceeded = (labels) => isWork(labels) && labels.status < "400";

/* --- what is plotted: each value from the reading now and those before it --- */

const gauge = (name, filter) => (now) => sum(now.metrics, name, filter);
const speed = (name, filter) => (now, earlier) => rate(now, earlier(RATE_OVER), name, filter);
const time = (name, q) => (now, earlier) => quantile(now, earlier(QUANTILE_OVER), name, q);

function shareOf(part, whole) {
  return (now) => {
    const all = sum(now.metrics, whole);
    const some = sum(now.metrics, part);
    return all > 0 && some !== null ? some / all : null;
  };
}

const plots = [
  { title: "Generated tokens a second", format: formats.rate, least: 10,
    series: [{ name: "", value: speed("mistral_generate_tokens_total") }] },
  { title: "Prompt tokens a second", format: formats.rate, least: 10,
    series: [{ name: "", value: speed("mistral_prompt_tokens_total") }] },
  { title: "Requests under way", format: formats.count, least: 4,
    series: [{ name: "", value: gauge("mistral_active_requests") }] },
  { title: "Requests a second", format: formats.rate, least: 1,
    series: [{ name: "answered", value: speed("mistral_http_requests_total", hasSucceeded) },
      { name: "failed", value: speed("mistral_http_requests_total", hasFailed) }] },
  { title: "Batch and queue", format: formats.count, least: 4,
    series: [{ name: "in the batch", value: gauge("mistral_sequences_running") },
      { name: "waiting", value: gauge("mistral_sequences_waiting") }] },
  { title: "Time to first token, last 30 s", format: formats.seconds, least: 0.01,
    series: [{ name: "median", value: time("mistral_time_to_first_token_seconds", 0.5) },
      { name: "p95", value: time("mistral_time_to_first_token_seconds", 0.95) }] },
  { title: "Time between tokens, last 30 s", format: formats.seconds, least: 0.001,
    series: [{ name: "median", value: time("mistral_time_between_tokens_seconds", 0.5) },
      { name: "p95", value: time("mistral_time_between_tokens_seconds", 0.95) }] },
  { title: "KV cache", format: formats.percent, least: 1, most: 1,
    series: [{ name: "in use", value: shareOf("mistral_kv_blocks_used", "mistral_kv_blocks_capacity") },
      { name: "kept for reuse", value: shareOf("mistral_kv_blocks_cached", "mistral_kv_blocks_capacity") }] },
  { title: "Prompts found in the prefix cache, last 30 s", format: formats.percent, least: 1, most: 1,
    series: [{ name: "",
      value: (now, earlier) => share(now, earlier(QUANTILE_OVER), "mistral_prefix_cache_hit_tokens_total", "mistral_prefix_cache_lookup_tokens_total") }] },
  { title: "Memory", format: formats.bytes, least: 2 ** 26,
    series: [{ name: "resident", value: gauge("process_resident_memory_bytes") },
      { name: "weights", value: gauge("mistral_device_memory_usage_bytes", (labels) => labels.memory_type === "weights") }] },
  { title: "Processor", format: (value) => `${value.toFixed(1)} cores`, least: 1,
    series: [{ name: "", value: speed("process_cpu_seconds_total") }] },
  { title: "Device at work", format: formats.percent, least: 1, most: 1,
    series: [{ name: "", value: (now) => {
      const all = now.metrics.get("mistral_device_compute_utilization_ratio");
      return all === undefined ? null : Math.max(...all.map((one) => one.value));
    } }] },
];

/* --- what is told in figures --- */

function modelsOf(metrics) {
  const names = new Set((metrics.get("mistral_kv_blocks_capacity") ?? []).map((one) => one.labels.model));
  return [...names].join(", ") || "No model is loaded.";
}

const figures = [
  { label: "Up for", read: (metrics) => span(Date.now() / 1000 - sum(metrics, "process_start_time_seconds")) },
  { label: "Requests", read: (metrics) => counts.format(sum(metrics, "mistral_http_requests_total", isWork) ?? 0) },
  { label: "Failed requests", read: (metrics) => counts.format(sum(metrics, "mistral_http_requests_total", hasFailed) ?? 0) },
  { label: "Tokens generated", read: (metrics) => counts.format(sum(metrics, "mistral_generate_tokens_total") ?? 0) },
  { label: "Prompt tokens", read: (metrics) => counts.format(sum(metrics, "mistral_prompt_tokens_total") ?? 0) },
  { label: "Version", read: (metrics) => metrics.get("mistral_build_info")?.[0].labels.version || "unknown" },
];

/* --- drawing --- */

let samples = []; // [{time, metrics}], oldest first; a row: what is plotted of one, with its time
let rows = [];
let drawn = []; // one a row of `plots`
let figureTexts = [];
let isVisible = false;
let pointedAt = null; // share of the width

/* A server that was started anew counts from 0 again. */
function isSameServer(a, b) {
  return sum(a.metrics, "process_start_time_seconds") === sum(b.metrics, "process_start_time_seconds");
}

function take(sample) {
  if (samples.length > 0 && !isSameServer(samples.at(-1), sample)) {
    samples = [];
  }
  samples.push(sample);
  samples = samples.filter((one) => sample.time - one.time <= QUANTILE_OVER + 5);
  const earlier = (seconds) => samples.find((one) => sample.time - one.time <= seconds + 0.5);
  rows = rows.filter((row) => sample.time - row.time <= SHOWN);
  rows.push({
    time: sample.time,
    values: plots.map((plot) => plot.series.map((series) => series.value(sample, earlier))),
  });
}

/* The rows as shares of the width, which is more time the more there is; a gap where nothing was read
 * for some seconds. */
function placed(now) {
  const shown = Math.max(SHOWN_AT_FIRST, now - rows[0].time);
  return rows.flatMap((row, index) => {
    const at = 1 - (now - row.time) / shown;
    const isGap = index > 0 && row.time - rows[index - 1].time > 4;
    return isGap ? [{ at, values: null }, { at, values: row.values, time: row.time }] : [{ at, values: row.values, time: row.time }];
  });
}

function nearest(all) {
  return all.filter((row) => row.values !== null)
    .reduce((best, row) => best === null || Math.abs(row.at - pointedAt) < Math.abs(best.at - pointedAt) ? row : best, null);
}

function draw() {
  if (!isVisible || rows.length === 0) {
    return;
  }
  const now = rows.at(-1).time;
  const all = placed(now);
  const pointed = pointedAt === null ? null : nearest(all);
  drawn.forEach((plot, index) => {
    const values = (row) => ({ at: row.at, values: row.values?.[index] ?? plots[index].series.map(() => null) });
    plot.draw(all.map(values), pointed && values(pointed));
  });
  const { metrics } = samples.at(-1);
  byId("engine-models").textContent = modelsOf(metrics);
  byId("engine-when").textContent = pointed !== null ? `${Math.round(now - pointed.time)} seconds ago`
    : sum(metrics, "mistral_http_requests_total", isWork) > 0 ? "Now" : "Nothing was asked yet.";
  figures.forEach((figure, index) => {
    figureTexts[index].textContent = figure.read(metrics);
  });
}

export function setVisible(visible) {
  isVisible = visible;
  draw();
}

export function setServerState(state) {
  byId("engine-empty").hidden = state === "up" || rows.length > 0;
  byId("engine-body").hidden = !(state === "up" || rows.length > 0);
  byId("engine-body").classList.toggle("stale", state !== "up");
}

export function setUp() {
  drawn = plots.map((plot) => createPlot(plot, (at) => { pointedAt = at; draw(); }));
  figureTexts = figures.map(() => element("dd"));
  byId("figures").append(...figures.map((figure, index) => element("div", {}, element("dt", {}, figure.label), figureTexts[index])));
  byId("plots").append(...drawn.map((plot) => plot.root));
  server.changes.addEventListener("sample", (event) => {
    take(event.detail);
    draw();
  });
  addEventListener("resize", draw);
}
