/* metrics.js - reads Prometheus' text format, and computes from two readings what happened between them. */

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { n: "\n", "\\": "\\", "\"": "\"" };

function parseLabels(text) {
  return Object.fromEntries(Array.from(text.matchAll(LABEL), ([, name, value]) => [name, value.replace(/\\(.)/g, (_, c) => ESCAPES[c] ?? c)]));
}

/* → Map: name → [{labels, value}] */
export function parseMetrics(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (found !== null) {
      const [, name, labels = "", value] = found;
      if (!families.has(name)) {
        families.set(name, []);
      }
      families.get(name).push({ labels: parseLabels(labels), value: Number(value.replace("Inf", "Infinity")) });
    }
  }
  return families;
}

/* Of all series that `filter` takes; null when the metric is not there at all. */
export function sum(metrics, name, filter = () => true) {
  const series = metrics.get(name);
  return series === undefined ? null : series.filter((one) => filter(one.labels)).reduce((total, one) => total + one.value, 0);
}

/* What a counter grew by, a second; a counter that was not there counted nothing yet. */
export function rate(now, before, name, filter) {
  const seconds = now.time - before.time;
  const last = sum(now.metrics, name, filter);
  return last === null || !(seconds > 0) ? null : (last - (sum(before.metrics, name, filter) ?? 0)) / seconds;
}

/* One counter's growth as a share of another's; null when that did not grow. */
export function share(now, before, part, whole) {
  const growth = (name) => (sum(now.metrics, name) ?? 0) - (sum(before.metrics, name) ?? 0);
  return growth(whole) > 0 ? growth(part) / growth(whole) : null;
}

function bucketsOf(metrics, name) {
  const buckets = new Map();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    const bound = Number(labels.le.replace("+Inf", "Infinity"));
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return buckets;
}

/* A quantile of what a histogram took in between two readings, as Prometheus' histogram_quantile has
 * it: evenly spread within its bucket. null when it took in nothing. */
export function quantile(now, before, name, q) {
  const earlier = bucketsOf(before.metrics, name);
  const buckets = [...bucketsOf(now.metrics, name)].sort(([a], [b]) => a - b)
    .map(([bound, count]) => ({ bound, count: count - (earlier.get(bound) ?? 0) }));
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) {
    return null;
  }
  const rank = q * total;
  const at = buckets.findIndex((bucket) => bucket.count >= rank);
  const below = at === 0 ? { bound: 0, count: 0 } : buckets[at - 1];
  const { bound, count } = buckets[at];
  return bound === Infinity ? below.bound : below.bound + (bound - below.bound) * ((rank - below.count) / (count - below.count));
}
