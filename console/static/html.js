// Text becomes HTML in one place, and what comes from outside is always escaped.
class Html {
  constructor(text) { this.text = text; }
}
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const piece = (value) =>
  value instanceof Html ? value.text
  : Array.isArray(value) ? value.map(piece).join("")
  : value === null || value === undefined || value === false ? ""
  : escaped(value);

export const html = (strings, ...values) =>
  new Html(strings.reduce((all, text, n) => all + piece(values[n - 1]) + text));

export const put = (place, what) => { place.innerHTML = what.text; };

export const loading = html`<p class="soft" aria-busy="true">Loading …</p>`;

const numbers = new Intl.NumberFormat("en");
export const count = (n) => (n === null || n === undefined ? "–" : numbers.format(n));
export const decimals = (n, places = 3) => (n === null || n === undefined ? "–" : n.toFixed(places));
export const percent = (share) => `${decimals(100 * share, 1).replace(/\.0$/, "")} %`;
export const bytes = (n) => (n < 1024 ? `${count(n)} bytes` : n >= 2 ** 20 ? `${count(Math.round(n / 2 ** 20))} MiB` : `${count(Math.round(n / 1024))} KiB`);
export const clock = (ms) => (ms ? new Date(ms).toISOString().replace("T", " ").slice(0, 19) : "–");
export const timeOfDay = (ms) => new Date(ms).toISOString().slice(11, 16);
// The same where it must not be broken over two lines.
export const whole = (text) => html`<span class="whole">${text}</span>`;
export const date = (ms) => whole(clock(ms));
export const counted = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
export const age = (ms, now) => {
  if (!ms) return "–";
  const s = Math.max(0, (now - ms) / 1000);
  return s < 120 ? `${s.toFixed(0)} s` : s < 7200 ? `${(s / 60).toFixed(0)} min` : s < 172800 ? `${(s / 3600).toFixed(0)} h` : `${(s / 86400).toFixed(0)} d`;
};

// number: right-aligned, unbroken; wide: sentences, which need width on a phone too.
const kind = (head) => (head.number ? "number" : head.wide ? "wide" : "");

export const table = (caption, heads, rows, otherwise) =>
  rows.length
    ? html`<div class="table"><div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table><thead><tr>${heads.map((h) => html`<th scope="col" class="${kind(h)}">${h.name ?? h}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr>${row.map((cell, n) => html`<td class="${kind(heads[n])}">${cell}</td>`)}</tr>`)}</tbody></table></div></div>`
    : html`<p class="empty">${otherwise}</p>`;

// Titles come in every length and script: two lines at most, and isolated from the text around them.
export const titled = (text) => html`<bdi class="title" title="${text}">${text}</bdi>`;
export const itemHash = (type, id) => `#/item?type=${encodeURIComponent(type)}&id=${encodeURIComponent(id)}`;
export const itemLink = (i) => html`<a href="${itemHash(i.item_type, i.item_id)}">${titled(i.title || i.item_id)}</a>`;
// The same for canvases, which have no elements: cut, between the isolating characters of Unicode.
export const short = (text, most = 32) => `\u2068${[...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text}\u2069`;
