// Completions for a textarea, in a list below it: arrows choose, Enter or Tab takes, Escape closes.
import { html, put } from "./html.js";

const MOST = 12;
const NAME = /[A-Za-z_][\w.]*$/;

// What stands before the caret, and what could stand there. `words`: attributes, functions, rules.
export function suggestions(before, words) {
  const line = before.slice(before.lastIndexOf("\n") + 1);
  const typed = line.match(NAME)?.[0] ?? "";
  const long = before.split('"""').length % 2 === 0;
  const inside = long || /=/.test(line.slice(0, line.length - typed.length));
  if (!inside) {
    // At the beginning of a line, a rule; in brackets, a rule that is a table.
    const known = typed && !typed.includes(".") ? words.rules.filter((name) => name.startsWith(typed)) : [];
    return { typed, found: known.map((name) => ({ text: name, note: "rule" })) };
  }
  if (/^\s*(attribute|same)\s*=/.test(line)) {
    const names = Object.entries(words.attributes).filter(([name]) => name.startsWith(`item.${typed}`));
    return { typed, found: typed ? names.map(([name, note]) => ({ text: name.slice(5), note })).slice(0, MOST) : [] };
  }
  const [owner] = typed.split(".");
  const found = [];
  if (/^(item|user|request)\./.test(typed))
    for (const [name, type] of Object.entries(words.attributes)) {
      if (!name.startsWith(typed)) continue;
      // A name that is no SQL name stands in double quotes.
      const own = name.slice(owner.length + 1);
      found.push({ text: /^[A-Za-z_]\w*$/.test(own) ? name : `${owner}."${own}"`, note: type });
    }
  else if (typed) {
    for (const one of ["item.", "user.", "request."]) if (one.startsWith(typed)) found.push({ text: one, note: "attribute" });
    for (const name of words.functions) if (name.startsWith(typed.toLowerCase())) found.push({ text: name, note: "function" });
  }
  return { typed, found: found.filter((one) => one.text !== typed).slice(0, MOST) };
}

// area: the textarea; list: an empty element for the options. Tells `changed` after a completion.
export function complete(area, list, status, words, changed) {
  let found = [], typed = "", at = -1;
  const close = () => { found = []; at = -1; draw(); };
  const draw = () => {
    list.hidden = !found.length;
    put(list, html`${found.map((one, n) => html`<li role="option" id="completion-${n}" aria-selected="${n === at}"><code>${one.text}</code> <span class="soft">${one.note}</span></li>`)}`);
    at >= 0 ? area.setAttribute("aria-activedescendant", `completion-${at}`) : area.removeAttribute("aria-activedescendant");
    status.textContent = found.length ? `${found.length} completions` : "";
  };
  const look = () => {
    ({ typed, found } = suggestions(area.value.slice(0, area.selectionStart), words));
    at = -1;
    draw();
  };
  const take = (n) => {
    const end = area.selectionStart;
    area.setRangeText(found[n].text, end - typed.length, end, "end");
    close();
    area.focus();
    if (area.value[area.selectionStart - 1] === ".") look();
    changed();
  };
  area.addEventListener("input", look);
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); look(); return; }
    if (!found.length) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at = (at + step + found.length + (at < 0 && step < 0 ? 1 : 0)) % found.length; draw(); }
    else if (event.key === "Escape") close();
    else if (event.key === "Tab" || (event.key === "Enter" && at >= 0)) take(Math.max(at, 0));
    else return;
    event.preventDefault();
  });
  // The press, not the click: by then the field has lost the focus, and the list is closed.
  list.addEventListener("pointerdown", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    event.preventDefault();
    take([...list.children].indexOf(option));
  });
}
