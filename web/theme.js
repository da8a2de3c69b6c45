/* theme.js - light, dark, or as the system has it; before the first paint, so it is no module. */

(() => {
  const choices = ["auto", "light", "dark"];

  function read() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // the browser keeps nothing for this page
    }
  }

  function apply(theme) {
    if (theme === "auto") {
      document.documentElement.removeAttribute("data-theme");
    } else {
      document.documentElement.setAttribute("data-theme", theme);
    }
  }

  const stored = read();
  let current = choices.includes(stored) ? stored : "auto";
  apply(current);

  globalThis.theme = {
    get current() {
      return current;
    },
    next() {
      current = choices[(choices.indexOf(current) + 1) % choices.length];
      apply(current);
      try {
        localStorage.setItem("theme", current);
      } catch {
        // it holds until the page is left
      }
      return current;
    },
  };
})();
