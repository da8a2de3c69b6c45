/* markdown.js - shows Markdown, as CommonMark with GitHub's tables has it, while it grows. Builds elements
 * and text only, whatever the source says; what a model wrote as HTML is seen as it wrote it. A line's
 * end is a line's end. No reference links, no HTML.
 */
import { copyButton, element } from "./dom.js";
import { parseInline } from "./markdown_inline.js";

const MAX_NESTING = 12; // of quotes and lists; deeper ones are paragraphs
const FENCE = /^( {0,3})(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const TABLE_CELL = /^:?-+:?$/;

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function isBlank(line) {
  return line.trim() === "";
}

function withoutIndent(line, most) {
  return line.slice(Math.min(indentOf(line), most));
}

/* --- tables --- */

/* The cells of "| a | b |"; a \| belongs to its cell. */
function cellsOf(line) {
  const cells = [""];
  const text = line.trim();
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\" && text[i + 1] === "|") {
      cells[cells.length - 1] += "|";
      i++;
    } else if (text[i] === "|") {
      cells.push("");
    } else {
      cells[cells.length - 1] += text[i];
    }
  }
  if (text.startsWith("|")) {
    cells.shift();
  }
  if (cells.length > 1 && isBlank(cells.at(-1))) {
    cells.pop();
  }
  return cells.map((cell) => cell.trim());
}

function alignmentOf(cell) {
  const start = cell.startsWith(":");
  return cell.endsWith(":") ? (start ? "center" : "end") : start ? "start" : null;
}

/* Whether the lines at `at` are a table's first two. */
function beginsTable(lines, at) {
  const second = lines[at + 1];
  if (second === undefined || !lines[at].includes("|") || !/^[ |:-]+$/.test(second) || indentOf(lines[at]) > 3) {
    return false;
  }
  const columns = cellsOf(second);
  return columns.every((cell) => TABLE_CELL.test(cell)) && columns.length === cellsOf(lines[at]).length;
}

function readTable(lines, at) {
  const heads = cellsOf(lines[at]);
  const aligns = cellsOf(lines[at + 1]).map(alignmentOf);
  const rows = [];
  for (at += 2; at < lines.length && !isBlank(lines[at]) && !interrupts(lines, at); at++) {
    const cells = cellsOf(lines[at]);
    rows.push(heads.map((_, column) => cells[column] ?? ""));
  }
  return { kind: "table", heads, aligns, rows, end: at };
}

/* --- the other blocks: each reader gets the lines and where it begins, and says where it ends --- */

/* What stands behind the marks may be anything, but no ` behind ```: that is code inside a line. */
function beginsFence(lines, at) {
  const fence = FENCE.exec(lines[at]);
  return fence !== null && !(fence[2][0] === "`" && fence[3].includes("`"));
}

function readFence(lines, at) {
  const [, indent, fence, info] = FENCE.exec(lines[at]);
  const body = [];
  for (at++; at < lines.length; at++) {
    const line = lines[at].trim();
    if (line.length >= fence.length && line === fence[0].repeat(line.length) && indentOf(lines[at]) <= 3) {
      return { kind: "code", language: info.trim().split(/\s/, 1)[0], text: body.join("\n"), end: at + 1 };
    }
    body.push(withoutIndent(lines[at], indent.length));
  }
  return { kind: "code", language: info.trim().split(/\s/, 1)[0], text: body.join("\n"), end: at };
}

function readIndentedCode(lines, at) {
  const body = [];
  let end = at;
  for (; at < lines.length && (isBlank(lines[at]) || indentOf(lines[at]) >= 4); at++) {
    body.push(withoutIndent(lines[at], 4));
    if (!isBlank(lines[at])) {
      end = at + 1;
    }
  }
  return { kind: "code", language: "", text: body.slice(0, body.length - (at - end)).join("\n"), end };
}

function readHeading(lines, at) {
  const level = HEADING.exec(lines[at])[1].length;
  let text = lines[at].trim().slice(level).trim();
  const bare = text.replace(/#+$/, "");
  if (bare === "" || /[ \t]$/.test(bare)) {
    text = bare.trim();
  }
  return { kind: "heading", level, text, end: at + 1 };
}

function readQuote(lines, at, depth) {
  const inside = [];
  let isParagraph = false; // whose next line may lack its mark
  for (; at < lines.length; at++) {
    if (QUOTE.test(lines[at])) {
      inside.push(lines[at].replace(QUOTE, ""));
      isParagraph = !isBlank(inside.at(-1)) && !beginsBlock(inside, inside.length - 1);
    } else if (isParagraph && !isBlank(lines[at]) && !interrupts(lines, at)) {
      inside.push(lines[at].trimStart());
    } else {
      break;
    }
  }
  return { kind: "quote", blocks: readBlocks(inside, depth + 1), end: at };
}

function markOf(marker) {
  return marker.at(-1); // "-", "*", "+", "." or ")": another one begins another list
}

/* Lines of one item, without its indentation; `end` is where the next thing begins. */
function readItem(lines, at) {
  const [, indent, marker, blanks = "", rest = ""] = ITEM.exec(lines[at]);
  const isCode = blanks.length > 4;
  const width = indent.length + marker.length + (isCode || rest === "" ? 1 : blanks.length);
  const inside = [isCode ? blanks.slice(1) + rest : rest];
  let gap = false;
  const isEmpty = () => inside.length === 2 && inside.every(isBlank); // it may begin with one empty line at most
  for (at++; at < lines.length && !isEmpty(); at++) {
    const line = lines[at];
    if (isBlank(line)) {
      gap = true;
      inside.push("");
    } else if (indentOf(line) >= width) {
      gap = false;
      inside.push(line.slice(width));
    } else if (!gap && !isBlank(inside.at(-1)) && !interrupts(lines, at) && !ITEM.test(line)) {
      inside.push(line.trimStart());
    } else {
      break;
    }
  }
  let trailing = 0;
  while (inside.length > 1 && isBlank(inside.at(-1))) {
    inside.pop();
    trailing++;
  }
  return { inside, end: at, trailing };
}

function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at])[2];
  const items = [];
  let isLoose = false;
  let trailing = 0;
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (found === null || markOf(found[2]) !== markOf(first) || RULE.test(lines[at])) {
      break;
    }
    isLoose ||= trailing > 0;
    const item = readItem(lines, at);
    const blocks = readBlocks(item.inside, depth + 1);
    isLoose ||= blocks.slice(1).some((block, i) => block.start > blocks[i].end);
    items.push(blocks);
    ({ end: at, trailing } = item);
  }
  return { kind: "list", isOrdered: /\d/.test(first), number: parseInt(first, 10), items, isLoose, end: at - trailing };
}

function readParagraph(lines, at) {
  const start = at;
  for (at++; at < lines.length && !isBlank(lines[at]); at++) {
    const underline = UNDERLINE.exec(lines[at]);
    if (underline !== null) {
      const text = lines.slice(start, at).map((line) => line.trim()).join("\n");
      return { kind: "heading", level: underline[1][0] === "=" ? 1 : 2, text, end: at + 1 };
    }
    if (interrupts(lines, at)) {
      break;
    }
  }
  const text = lines.slice(start, at).map((line) => line.trimStart()).join("\n").trimEnd();
  return { kind: "paragraph", text, end: at };
}

const readers = [
  { begins: (lines, at) => indentOf(lines[at]) >= 4, read: readIndentedCode, isWeak: true },
  { begins: beginsFence, read: readFence },
  { begins: (lines, at) => HEADING.test(lines[at]), read: readHeading },
  { begins: (lines, at) => RULE.test(lines[at]), read: (_, at) => ({ kind: "rule", end: at + 1 }) },
  { begins: (lines, at) => QUOTE.test(lines[at]), read: readQuote, nests: true },
  { begins: (lines, at) => ITEM.test(lines[at]), read: readList, nests: true },
  { begins: beginsTable, read: readTable },
];

/* Whether the line at `at` ends a paragraph before it. Of lists only those that surely are ones do:
 * "1." or a mark, with something behind it. */
function interrupts(lines, at) {
  const item = ITEM.exec(lines[at]);
  if (item !== null && !RULE.test(lines[at])) {
    return !isBlank(item[4] ?? "") && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1);
  }
  return readers.some((reader) => !reader.isWeak && reader.begins(lines, at));
}

function beginsBlock(lines, at) {
  return readers.some((reader) => !reader.nests && reader.begins(lines, at));
}

function readBlocks(lines, depth = 0) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const reader = readers.find((one) => one.begins(lines, at) && !(one.nests && depth >= MAX_NESTING));
    const block = (reader?.read ?? readParagraph)(lines, at, depth);
    blocks.push({ ...block, start: at });
    at = block.end;
  }
  return blocks;
}

/* --- elements --- */

function showInline(nodes) {
  return nodes.map((node) => {
    if (node.tag === undefined) {
      return node.text;
    }
    const attributes = node.tag === "a" ? { href: node.address, target: "_blank", rel: "noopener noreferrer nofollow" } : {};
    return element(node.tag, attributes, ...showInline(node.children));
  });
}

function inline(text) {
  return showInline(parseInline(text));
}

function showCode(block) {
  const code = element("code", {}, block.text);
  return element("figure", { class: "code" },
    element("figcaption", {}, element("span", {}, block.language || "text"), copyButton("Copy code", () => code.textContent)),
    element("pre", { tabindex: "0" }, code));
}

function showTable(block) {
  const cell = (tag, text, column) =>
    element(tag, { class: block.aligns[column] && `align-${block.aligns[column]}`, scope: tag === "th" ? "col" : null }, ...inline(text));
  return element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, element("table", {},
    element("thead", {}, element("tr", {}, ...block.heads.map((text, column) => cell("th", text, column)))),
    element("tbody", {}, ...block.rows.map((row) => element("tr", {}, ...row.map((text, column) => cell("td", text, column)))))));
}

/* In a tight list an item's text stands without a paragraph around it. "[x]" before it is a tick. */
function showItem(blocks, isLoose) {
  const tick = blocks[0]?.kind === "paragraph" ? /^\[([ xX])\]\s/.exec(blocks[0].text) : null;
  if (tick !== null) {
    blocks = [{ ...blocks[0], text: blocks[0].text.slice(tick[0].length) }, ...blocks.slice(1)];
  }
  const children = blocks.flatMap((block) => block.kind === "paragraph" && !isLoose ? inline(block.text) : [show(block)]);
  const isDone = tick !== null && tick[1] !== " ";
  return tick === null ? element("li", {}, ...children)
    : element("li", { class: "tick" }, element("input", { type: "checkbox", disabled: true, checked: isDone, "aria-label": isDone ? "done" : "not done" }), ...children);
}

const shows = {
  paragraph: (block) => element("p", {}, ...inline(block.text)),
  heading: (block) => element(block.rank ? `h${block.rank}` : "p", { class: `heading-${block.level}` }, ...inline(block.text)),
  rule: () => element("hr"),
  code: showCode,
  quote: (block) => element("blockquote", {}, ...block.blocks.map(show)),
  list: (block) => element(block.isOrdered ? "ol" : "ul", { start: block.isOrdered && block.number !== 1 ? block.number : null },
    ...block.items.map((blocks) => showItem(blocks, block.isLoose))),
  table: showTable,
};

function show(block) {
  return shows[block.kind](block);
}

/* To the next multiple of four columns. */
function expandTabs(text) {
  return text.split("\t").reduce((line, piece) => line + " ".repeat(4 - line.length % 4) + piece);
}

/* Tabs at the start of a line, and behind an item's mark there, are blanks; in a fence they stay. */
function linesOf(source) {
  let fence = null;
  return source.split(/\r\n|\r|\n/).map((line) => {
    const [, mark] = /^[ \t]*(`{3,}|~{3,})/.exec(line) ?? [];
    if (fence === null || mark?.startsWith(fence)) {
      fence = fence === null ? mark ?? null : null;
      return line.replace(/^[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)?/, expandTabs);
    }
    return line;
  });
}

/* A heading looks as its level says, and ranks by those above it: below the message's own, h2, and no
 * rank is left out. Inside of quotes and lists they are only seen. */
function rankHeadings(blocks) {
  const above = []; // levels
  for (const block of blocks.filter((one) => one.kind === "heading")) {
    while (above.at(-1) >= block.level) {
      above.pop();
    }
    above.push(block.level);
    block.rank = Math.min(2 + above.length, 6);
  }
}

/* Shows `source` in `container`. Blocks that are there already, from the last time, stay as they are: so
 * an answer that grows costs what its last block costs, and what a reader has selected stays so. */
export function showMarkdown(container, source) {
  const lines = linesOf(source);
  const blocks = readBlocks(lines);
  const before = container.markdownBlocks ?? [];
  rankHeadings(blocks);
  container.markdownBlocks = blocks.map((block) => `${block.rank} ${lines.slice(block.start, block.end).join("\n")}`);
  blocks.forEach((block, i) => {
    const child = container.children[i];
    if (child === undefined) {
      container.append(show(block));
    } else if (before[i] !== container.markdownBlocks[i]) {
      child.replaceWith(show(block));
    }
  });
  while (container.children.length > blocks.length) {
    container.lastElementChild.remove();
  }
}
