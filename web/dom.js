/* dom.js - builds elements. What is text goes in as text: no markup is ever parsed. */

const SVG = "http://www.w3.org/2000/svg";

/* Shapes on a grid of 24, drawn as lines. */
const shapes = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  settings: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
  dark: "M20 14.5A8.3 8.3 0 0 1 9.5 4a8.3 8.3 0 1 0 10.5 10.5z",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  remove: "M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7M10.3 10.5v5.5M13.7 10.5v5.5",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
};

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function drawing(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function icon(name) {
  const path = drawing("path", { d: shapes[name] });
  return drawing("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, path);
}

/* A button that shows an icon and says `label`. */
export function iconButton(name, label, onclick, className = "quiet") {
  return element("button", { type: "button", class: `icon-button ${className}`, "aria-label": label, title: label, onclick }, icon(name));
}

export function setIcon(button, name, label) {
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
  button.title = label;
}

export function byId(id) {
  return document.getElementById(id);
}

/* Said to who listens to the page, not shown. */
export function announce(text) {
  byId("announcements").textContent = text;
}

/* Shown for a moment; with something to do about it, or without. */
export function notify(text, action = null) {
  const note = byId("notice");
  clearTimeout(notify.timer);
  const hide = () => note.hidePopover();
  const button = action && element("button", {
    type: "button", class: "link", onclick: () => { hide(); action.run(); },
  }, action.label);
  note.replaceChildren(element("span", {}, text), ...(button ? [button] : []));
  note.hidePopover();
  note.showPopover();
  notify.timer = setTimeout(hide, 8000);
}

/* navigator.clipboard is there on https and localhost only. */
async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = element("textarea", { class: "visually-hidden", "aria-hidden": "true", tabindex: "-1" });
  const focused = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) {
    throw new Error("the browser does not let this page copy");
  }
}

/* A button that copies what `read` gives, and says for a moment whether it did. */
export function copyButton(label, read) {
  const button = iconButton("copy", label, async () => {
    try {
      await copyText(read());
      setIcon(button, "check", "Copied");
    } catch {
      setIcon(button, "close", "Could not copy");
    }
    announce(button.title);
    setTimeout(() => setIcon(button, "copy", label), 1500);
  });
  return button;
}
