/* markdown_inline.js - the Markdown inside a line of text: emphasis, code, links. Gives a tree of
 * plain objects, {tag, ...} or text; markdown.js makes elements of it. The text may be anything: time
 * grows no faster than its length does (nearly), nesting is bounded. HTML is text here. */

const MAX_DEPTH = 20;
const MAX_DESTINATION = 2048; // characters of a link's ( … )
const ESCAPABLE = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const PLAIN = /(?:[^\\`*_~[\]!<&\nh]|h(?!ttps?:\/\/))+/y; // up to what may mean something
const BARE_ADDRESS = /https?:\/\/[^\s<>]+/y;
const BRACKETED_ADDRESS = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const ENTITY = /&(amp|lt|gt|quot|nbsp|#39);/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: "\"", nbsp: "\u00a0", "#39": "'" };
const PUNCTUATION = /[\p{P}\p{S}]/u;

/* What a link may lead to: nothing that runs, nothing of this page. */
function safeAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function depthOf(children) {
  return children.reduce((deepest, child) => Math.max(deepest, child.depth ?? 0), 0);
}

function wrap(tag, children, attributes = {}) {
  return { tag, children, depth: depthOf(children) + 1, ...attributes };
}

/* --- emphasis --- */

/* CommonMark's rules for what may open and close, by the characters on both sides. */
function delimiterRun(text, at) {
  const mark = text[at];
  let end = at + 1;
  while (text[end] === mark) {
    end++;
  }
  const before = text[at - 1] ?? " ";
  const after = text[end] ?? " ";
  const space = { before: /\s/.test(before), after: /\s/.test(after) };
  const punctuation = { before: PUNCTUATION.test(before), after: PUNCTUATION.test(after) };
  const left = !space.after && (!punctuation.after || space.before || punctuation.before);
  const right = !space.before && (!punctuation.before || space.after || punctuation.after);
  const isWord = mark === "_";
  return {
    mark, count: end - at, length: end - at,
    opens: left && (!isWord || !right || punctuation.before),
    closes: right && (!isWord || !left || punctuation.after),
  };
}

function fits(opener, closer) {
  if (opener.mark !== closer.mark) {
    return false;
  }
  if (opener.mark === "~") {
    return opener.count === closer.count;
  }
  const either = opener.closes || closer.opens;
  return !(either && (opener.length + closer.length) % 3 === 0 && (opener.length % 3 !== 0 || closer.length % 3 !== 0));
}

/* What was looked for in vain by such a closer is not looked for again. */
function bottomKey(closer) {
  return `${closer.mark}${closer.opens}${closer.length % 3}${closer.mark === "~" ? closer.count : ""}`;
}

function tagOf(mark, used) {
  return mark === "~" ? "del" : used === 2 ? "strong" : "em";
}

/* Runs of marks among `nodes` become elements where they match, text where they do not. */
function resolveEmphasis(nodes) {
  const out = [];
  const openers = []; // indexes into out
  const bottoms = new Map();
  const close = (closer) => {
    while (closer.count > 0) {
      const bottom = bottoms.get(bottomKey(closer)) ?? 0;
      let found = openers.length - 1;
      while (found >= bottom && !fits(out[openers[found]], closer)) {
        found--;
      }
      if (found < bottom || depthOf(out.slice(openers[found] + 1)) >= MAX_DEPTH) {
        bottoms.set(bottomKey(closer), openers.length);
        return;
      }
      const opener = out[openers[found]];
      const used = closer.mark === "~" ? closer.count : Math.min(2, opener.count, closer.count);
      const children = out.splice(openers[found] + 1);
      opener.count -= used;
      closer.count -= used;
      openers.length = found + (opener.count > 0 ? 1 : 0);
      for (const [name, value] of bottoms) {
        bottoms.set(name, Math.min(value, openers.length));
      }
      if (opener.count === 0) {
        out.pop();
      }
      out.push(wrap(tagOf(closer.mark, used), children));
    }
  };
  for (const node of nodes) {
    if (node.closes) {
      close(node);
    }
    if (node.mark === undefined || node.count > 0) {
      if (node.opens) {
        openers.push(out.length);
      }
      out.push(node);
    }
  }
  return out;
}

/* --- links --- */

function skipBlanks(text, at, end) {
  while (at < end && /\s/.test(text[at])) {
    at++;
  }
  return at;
}

/* Where a destination that begins at `at` ends; -1: there is none. */
function endOfDestination(text, at, end) {
  let depth = 0;
  for (; at < end; at++) {
    if (text[at] === "\\" && at + 1 < end) {
      at++;
    } else if (text[at] === "(") {
      depth++;
    } else if (text[at] === ")" && depth-- === 0) {
      return at;
    } else if (/\s/.test(text[at])) {
      return at;
    }
  }
  return -1;
}

/* "(address "title")" at `at` → {address, end}, or null. */
function readDestination(text, at) {
  const end = Math.min(text.length, at + MAX_DESTINATION);
  if (text[at] !== "(") {
    return null;
  }
  at = skipBlanks(text, at + 1, end);
  const isBracketed = text[at] === "<";
  const start = isBracketed ? at + 1 : at;
  const stop = isBracketed ? text.indexOf(">", start) : endOfDestination(text, at, end);
  if (stop < 0 || stop >= end) {
    return null;
  }
  const address = text.slice(start, stop).replace(/\\([!-/:-@[-`{-~])/g, "$1");
  at = skipBlanks(text, isBracketed ? stop + 1 : stop, end);
  const quote = { "\"": "\"", "'": "'", "(": ")" }[text[at]];
  if (quote !== undefined) {
    const closing = text.indexOf(quote, at + 1);
    at = closing < 0 || closing >= end ? end : skipBlanks(text, closing + 1, end);
  }
  return text[at] === ")" && at < end ? { address, end: at + 1 } : null;
}

/* --- the whole --- */

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.nodes = [];
    this.brackets = []; // of "[" not closed yet: {index, isImage}
    this.activeFrom = 0; // brackets below that would make a link around a link
    this.fences = new Map(); // length of a run of ` → where such runs are, those behind us last
    for (const run of [...text.matchAll(/`+/g)].reverse()) {
      const length = run[0].length;
      if (!this.fences.has(length)) {
        this.fences.set(length, []);
      }
      this.fences.get(length).push(run.index);
    }
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found !== null) {
      this.at = pattern.lastIndex;
    }
    return found;
  }

  push(node) {
    this.nodes.push(node);
  }

  /* `text`, for so many characters of the source. */
  pushText(text, length = text.length) {
    this.at += length;
    this.push({ text });
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "\n") {
      this.at++;
      this.lineEnd();
    } else if (next !== undefined && ESCAPABLE.includes(next)) {
      this.pushText(next, 2);
    } else {
      this.pushText("\\");
    }
  }

  code() {
    const fence = /`+/y;
    fence.lastIndex = this.at;
    const { length } = fence.exec(this.text)[0];
    const start = this.at + length;
    const partners = this.fences.get(length) ?? [];
    while (partners.length > 0 && partners.at(-1) < start) {
      partners.pop();
    }
    const end = partners.at(-1);
    if (end === undefined) {
      this.pushText("`".repeat(length));
      return;
    }
    const inside = this.text.slice(start, end).replace(/\n/g, " ");
    const isPadded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() !== "";
    this.push({ tag: "code", children: [{ text: isPadded ? inside.slice(1, -1) : inside }], depth: 1 });
    this.at = end + length;
  }

  openBracket(text) {
    this.brackets.push({ index: this.nodes.length, isImage: text === "![" });
    this.pushText(text);
  }

  /* Images become links: the page asks for nothing from elsewhere. */
  closeBracket() {
    const bracket = this.brackets.pop();
    const isActive = bracket !== undefined && this.brackets.length >= this.activeFrom;
    const destination = isActive ? readDestination(this.text, this.at + 1) : null;
    const address = destination && safeAddress(destination.address);
    this.activeFrom = Math.min(this.activeFrom, this.brackets.length);
    if (!address) {
      this.pushText("]");
      return;
    }
    const children = resolveEmphasis(this.nodes.splice(bracket.index).slice(1));
    this.push(wrap("a", children.length > 0 ? children : [{ text: address }], { address }));
    this.at = destination.end;
    if (!bracket.isImage) {
      this.activeFrom = this.brackets.length;
    }
  }

  lineEnd() {
    const last = this.nodes.at(-1);
    if (last?.text !== undefined) {
      last.text = last.text.trimEnd();
    }
    this.at = skipBlanks(this.text, this.at, this.text.length);
    this.push({ tag: "br", children: [], depth: 0 });
  }

  /* An address with nothing around it, without what ends the sentence. */
  bareAddress() {
    const found = /\w/.test(this.text[this.at - 1] ?? " ") ? null : this.match(BARE_ADDRESS);
    if (found === null) {
      return false;
    }
    let end = found[0].length;
    while (".,:;!?\"'*_~`]".includes(found[0][end - 1])) {
      end--;
    }
    if (found[0][end - 1] === ")" && !found[0].includes("(")) {
      end--;
    }
    const text = found[0].slice(0, end);
    this.at -= found[0].length - end;
    this.pushAddress(text, text);
    return true;
  }

  bracketedAddress() {
    const found = this.match(BRACKETED_ADDRESS);
    if (found !== null) {
      this.pushAddress(found[1], found[0]);
    }
    return found !== null;
  }

  entity() {
    const found = this.match(ENTITY);
    if (found !== null) {
      this.push({ text: ENTITIES[found[1]] });
    }
    return found !== null;
  }

  pushAddress(text, source) {
    const address = safeAddress(text);
    this.push(address === null ? { text: source } : wrap("a", [{ text }], { address }));
  }

  /* Takes what stands at `at`; false: it means nothing here. */
  takeMark() {
    const next = this.text[this.at];
    if (next === "\\") {
      this.escape();
    } else if (next === "`") {
      this.code();
    } else if (next === "*" || next === "_" || next === "~") {
      this.push(delimiterRun(this.text, this.at));
      this.at += this.nodes.at(-1).length;
    } else if (next === "[") {
      this.openBracket("[");
    } else if (next === "!" && this.text[this.at + 1] === "[") {
      this.openBracket("![");
    } else if (next === "]") {
      this.closeBracket();
    } else if (next === "\n") {
      this.lineEnd();
    } else {
      return (next === "<" && this.bracketedAddress()) || (next === "&" && this.entity()) || (next === "h" && this.bareAddress());
    }
    return true;
  }

  read() {
    while (this.at < this.text.length) {
      if (!this.takeMark()) {
        const found = this.match(PLAIN);
        if (found !== null) {
          this.push({ text: found[0] });
        } else {
          this.pushText(this.text[this.at]);
        }
      }
    }
    return resolveEmphasis(this.nodes);
  }
}

/* What is left of marks that matched nothing is text. */
function withoutMarks(node) {
  if (node.mark !== undefined) {
    return { text: node.mark.repeat(node.count) };
  }
  return node.children === undefined ? node : { ...node, children: node.children.map(withoutMarks) };
}

/* The tree of a text: objects with `text`, or with `tag`, `children` and, of a link, `address`. */
export function parseInline(text) {
  return new Reader(text).read().map(withoutMarks);
}
