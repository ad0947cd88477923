import { count, counted, html, itemLink, percent, put, table } from "../html.js";

const number = (name) => ({ name, number: true });
const HEADS = [{ name: "new item", wide: true }, "type", number("shown"), number("taken"), number("expected"), number("part of the places")];

// New items that lists explore: what was shown and taken, what is expected of them, how many places they get.
export function exploration(place, found) {
  put(place, found?.length ? html`${found.map(one)}` : html`<p class="empty">No policy explores new items. Add <code>[explore]</code> to the policy of a list: docs/explore.md.</p>`);
}

const one = (l) => html`<h3>${l.list === "*" ? "All other lists" : l.list}</h3>
  <p class="note">${percent(l.share)} of the first ${count(l.position)} places go to items that are at most ${counted(l.days, "day")} old, until they were shown ${count(l.graduate)} times.
  ${counted(l.new, "item")} now; ${count(l.graduated)} of the same age graduated. ${l.shown ? html`Taken: ${percent(l.rate)} of ${count(l.shown)} (95 % interval ${percent(l.low)} to ${percent(l.high)}).` : "No impressions of them yet."}</p>
  ${table(`New items of ${l.list}`, HEADS, l.items.map((i) => [itemLink(i), i.item_type, count(i.shown), count(i.taken), percent(i.expected), percent(i.part)]), "No item is new.")}`;
