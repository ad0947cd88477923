import { ask, confirmed, send } from "../api.js";
import { complete } from "../completion.js";
import { count, counted, date, decimals, html, itemLink, percent, put, table } from "../html.js";

const PAUSE_MS = 300;
// What was done last, to be said when the page is drawn with it.
let lastChange = "";
// What is written but not applied, by list: the page may be drawn again at any time, as with the theme.
const drafts = new Map();
const EXAMPLE = (list) => `list = ${JSON.stringify(list)}\nfilter = ""\n`;

// The policy of each list: its versions, an editor that checks, a preview, and ways to change it.
export async function policies(main, query) {
  const [lists, words, own] = await Promise.all([ask("v1/policies"), ask("v1/policies/words"), ask("console/rights")]);
  const may = own.rights.includes("write_policies");
  const name = query.get("list") ?? lists.find((one) => one.in_force)?.list ?? lists[0].list;
  const chosen = lists.find((one) => one.list === name) ?? { list: name, newest: 0, in_force: null, versions: [] };
  const current = chosen.versions.find((one) => one.in_force);
  put(main, html`<h1>Policies</h1>
    <form class="search" id="lists"><label>List <select name="list">${lists.map((one) => html`<option value="${one.list}" ${one.list === name && "selected"}>${one.list === "*" ? "* (all lists without their own)" : one.list}${one.in_force ? "" : ": no policy"}</option>`)}</select></label></form>
    <p id="said" role="status"></p>
    <div class="columns"><section><h2><label for="policy">Policy in TOML</label></h2>
      <textarea id="policy" rows="16" spellcheck="false" autocapitalize="off" autocomplete="off" aria-autocomplete="list" aria-haspopup="listbox" aria-controls="completions" aria-describedby="checked keys"></textarea>
      <ul id="completions" role="listbox" aria-label="Completions" hidden></ul>
      <p class="soft" id="keys">Completions: <kbd>Ctrl</kbd>+<kbd>Space</kbd>, arrows, <kbd>Enter</kbd>; <kbd>Escape</kbd> closes them. <span id="found" role="status"></span></p>
      <p id="checked" role="status"></p>
      <div id="difference"></div>
      <h2>Apply</h2>
      ${may ? html`<form class="search" id="apply"><label>Author <input name="author" maxlength="100" autocomplete="name" placeholder="${own.name}"></label>
        <label>Comment <input name="comment" maxlength="1000" autocomplete="off" required></label><button class="main" disabled>Apply</button></form>
        ${current && html`<p><button type="button" id="undo">Undo version ${current.version}</button></p>`}`
      : html`<p class="note">No permission to change policies: the token lacks the right <code>write_policies</code>. Create one with <code>segue token NAME --policies write</code>.</p>`}</section>
    <section><h2>Preview</h2>
      <form class="search" id="preview"><label>Users <input name="users" autocomplete="off" placeholder="user-1, user-2" maxlength="2000"></label>
        <label>Further users at random <input name="random" type="number" min="0" max="500" value="100" required></label><button>Preview</button></form>
      <div id="previewed"></div></section></div>
    <section><h2>Versions</h2>${versions(chosen)}</section>`);
  const [area, checkedPlace, said] = ["#policy", "#checked", "#said"].map((id) => main.querySelector(id));
  const state = { left: false, good: null, visit: 0 };
  const say = (text, kind = "") => { said.textContent = text; said.className = kind; };
  area.value = drafts.get(name) ?? (current ?? chosen.versions.find((one) => one.text))?.text ?? EXAMPLE(name);
  main.querySelector("#lists select").onchange = (event) => { location.hash = `#/policies?list=${encodeURIComponent(event.target.value)}`; };
  main.querySelector("#lists").onsubmit = (event) => event.preventDefault();

  const check = async () => {
    const visit = ++state.visit;
    let found;
    try {
      found = await send("POST", "v1/policies/check", { text: area.value });
    } catch (error) {
      found = { good: false, fault: { where: "", what: error.message, line: 0, column: 0 } };
    }
    if (state.left || visit !== state.visit) return;
    // Undo and apply are of the list that is in sight.
    if (found.good && found.list !== name)
      found = { good: false, fault: { where: "list", what: `expected ${JSON.stringify(name)}, which is chosen above, got ${JSON.stringify(found.list)}`, line: 0, column: 0 } };
    state.good = found.good ? found : null;
    area.setAttribute("aria-invalid", String(!found.good));
    put(checkedPlace, verdict(found));
    put(main.querySelector("#difference"), found.good && found.difference.length ? differences(found.difference) : html``);
    for (const button of main.querySelectorAll("#apply button")) button.disabled = !found.good || !found.difference.length;
  };
  let timer;
  const changed = () => {
    clearTimeout(timer);
    drafts.set(name, area.value);
    state.good = null;
    for (const button of main.querySelectorAll("#apply button")) button.disabled = true;
    timer = setTimeout(check, PAUSE_MS);
  };
  area.addEventListener("input", changed);
  complete(area, main.querySelector("#completions"), main.querySelector("#found"), words, changed);
  main.onclick = (event) => {
    const { line, version } = event.target.dataset;
    if (line) select(area, Number(line), Number(event.target.dataset.column));
    if (version) {
      area.value = chosen.versions.find((one) => one.version === Number(version)).text;
      area.focus();
      changed();
    }
  };

  main.querySelector("#preview").onsubmit = async (event) => {
    event.preventDefault();
    const place = main.querySelector("#previewed");
    put(place, html`<p class="soft" aria-busy="true">Making lists …</p>`);
    const { users, random } = event.target.elements;
    const named = users.value.split(/[\s,]+/).filter(Boolean);
    try {
      const found = await send("POST", "v1/policies/preview", { text: area.value, users: named, random: Number(random.value) });
      if (!state.left) put(place, previewed(found, named));
    } catch (error) {
      if (!state.left) put(place, html`<p class="problem" role="alert">${error.message}</p>`);
    }
  };

  const change = async (path, body, done) => {
    try {
      const written = await send("POST", path, { ...body, after: chosen.newest });
      drafts.delete(name);
      lastChange = `${done} as version ${written.version}. Workers and consoles follow within two seconds.`;
      dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (error) {
      say(`Failed: ${error.message}${error.status === 409 ? ". Open this page again to see it; what you wrote is still here." : ""}`, "bad");
    }
  };
  const form = main.querySelector("#apply");
  if (form) form.onsubmit = async (event) => {
    event.preventDefault();
    const { author, comment } = form.elements;
    if (!state.good || !(await confirmed(`Apply this policy to ${named(name)}?`, `All workers and consoles follow it within two seconds. ${counted(changedLines(state.good), "line")} differ from what is in force.`))) return;
    await change("v1/policies", { text: area.value, author: author.value.trim(), comment: comment.value.trim() }, "Applied");
  };
  const undo = main.querySelector("#undo");
  if (undo) undo.onclick = async () => {
    if (await confirmed(`Undo version ${current.version} of ${named(name)}?`, "The rules of the version before it are put in force again, as a new version. Without one, the list has no policy.")) await change("v1/policies/undo", { list: name }, "Undone");
  };
  await check();
  if (!state.left && lastChange) { say(lastChange, "good"); lastChange = ""; }
  return () => { state.left = true; clearTimeout(timer); main.onclick = null; };
}

const named = (list) => (list === "*" ? "all lists without their own policy" : `the list ${list}`);
const changedLines = (found) => found.difference.filter((line) => /^[+-](?![+-])/.test(line)).length;

const verdict = (found) => found.good
  ? html`<span class="good">Valid: workers would accept this policy.</span> ${found.difference.length ? "" : "It changes nothing."}`
  : html`<span class="bad">${found.fault.line > 0 && html`<button type="button" data-line="${found.fault.line}" data-column="${found.fault.column}">Line ${found.fault.line}, column ${found.fault.column}</button> `}${found.fault.where && html`<code>${found.fault.where}</code>: `}${found.fault.what}</span>`;

const differences = (lines) => html`<details open><summary>What changes</summary><pre tabindex="0" aria-label="Difference from what is in force">${lines.map((line) => html`<span class="${line[0] === "+" ? "good" : line[0] === "-" ? "bad" : "soft"}">${line}\n</span>`)}</pre></details>`;

function select(area, line, column) {
  const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + column - 1;
  area.focus();
  area.setSelectionRange(before, before);
}

const versions = (chosen) => table("Versions of the policy", [{ name: "version", number: true }, "time (UTC)", "author", { name: "comment", wide: true }, "state", ""], chosen.versions.map((one) => [
  count(one.version), date(one.created_at), html`<bdi>${one.author}</bdi>`, html`<bdi>${one.comment}</bdi>`,
  one.in_force ? html`<span class="tag">in force</span>` : one.fault ? html`<span class="bad">refused: ${one.fault}</span>` : "",
  one.text && html`<button type="button" data-version="${one.version}">Open</button>`,
]), "No version yet: this list has no policy.");

// Sums of all users first; side by side the named ones, or the first.
function previewed(found, wanted) {
  const shown = found.users.filter((user) => wanted.includes(user.user_id));
  const lists = Object.entries(found.lists);
  const rows = shown.length ? shown : found.users.slice(0, 3);
  return html`${table(`Lists of ${counted(found.users.length, "user")}`, ["list", { name: "short before", number: true }, { name: "short after", number: true }, { name: "items changed", number: true }],
    lists.map(([name, sums]) => [name, count(sums.short_before), count(sums.short_after), percent(sums.changed)]), "No users.")}
    <p class="soft">Of ${counted(found.users.length, "user")}. A list is short if it has fewer items than it may have.</p>
    ${table("Effect on quality", ["list", { name: "questions", number: true }, ...FIGURES.flatMap(([, head]) => [{ name: head, number: true }, { name: "change", number: true }])],
      lists.map(([name, { effect }]) => [name, count(effect?.questions ?? 0), ...FIGURES.flatMap(([key]) => changeOf(effect?.[key]))]), "No users.")}
    <p class="soft">Held-out questions, one of each user: the answer is the item that the user took last, and the list is made as of just before. HR@10: share of the answers in the first ten. Coverage: share of all items in the first ten of a list. Diversity: mean distance (1 − cosine) between the items of a list. Change: with an interval of 95 %, by user.</p>
    ${rows.map((user) => Object.entries(user.lists).map(([name, sides]) => html`<h3><bdi>${user.user_id}</bdi>: ${name}</h3>${
      isSame(sides) ? html`<p class="soft">Unchanged: ${counted(sides.before.length, "item")}.</p>` : sideBySide(user.user_id, name, sides)}`))}`;
}

const FIGURES = [["hr_at_10", "HR@10"], ["coverage", "coverage"], ["diversity", "diversity"]];
const signed = (value) => `${value < 0 ? "−" : "+"}${decimals(Math.abs(value))}`;

// Two cells: before and after; the difference with its interval.
const changeOf = (figure) => figure
  ? [`${decimals(figure.before)} → ${decimals(figure.after)}`, `${signed(figure.after - figure.before)}${figure.low === null ? "" : ` (${signed(figure.low)} to ${signed(figure.high)})`}`]
  : ["–", "–"];

function sideBySide(user, name, { before, after }) {
  const was = new Set(before.map(itemOf));
  return table(`${name} of ${user}`, [{ name: "place", number: true }, "before", "after"],
    Array.from({ length: Math.max(before.length, after.length) }, (_, n) => [
      count(n + 1), before[n] ? itemLink(before[n]) : "", after[n] ? html`${itemLink(after[n])} ${!was.has(itemOf(after[n])) && html`<span class="tag">new</span>`}` : "",
    ]), "Empty before and after.");
}
const isSame = ({ before, after }) => before.length === after.length && before.every((item, n) => itemOf(item) === itemOf(after[n]));
const itemOf = (item) => JSON.stringify([item.item_type, item.item_id]);
