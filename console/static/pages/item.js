import { ask } from "../api.js";
import { itemTimes } from "./item_times.js";
import { takedown } from "./takedown.js";
import { count, counted, decimals, html, itemHash, itemLink, loading, put, table, titled } from "../html.js";

// An item: its text, who had it, what is near in the graph and in the space; found by id or meaning.
export async function item(main, query) {
  const [type, id, words] = ["type", "id", "q"].map((name) => query.get(name) ?? "");
  put(main, html`<h1>Item</h1><div class="columns">
    <form class="search" role="search" id="by-meaning"><label>Search by meaning <input name="q" value="${words}" maxlength="500" required></label><button class="main">Search</button></form>
    <form class="search" id="by-id"><label>Item type <input name="type" value="${type}" list="types" autocomplete="off" maxlength="256" required></label><datalist id="types"></datalist>
      <label>Item id <input name="id" value="${id}" autocomplete="off" maxlength="256" required></label><button class="main">Open</button></form></div>
    <div id="found">${(words || id) && loading}</div>`);
  const [byMeaning, byId] = main.querySelectorAll("form");
  byMeaning.onsubmit = (event) => { event.preventDefault(); location.hash = `#/item?q=${encodeURIComponent(byMeaning.elements.q.value)}`; };
  byId.onsubmit = (event) => { event.preventDefault(); location.hash = itemHash(byId.elements.type.value.trim(), byId.elements.id.value.trim()); };
  // Suggestions only: before the first bundle there are none.
  ask("console/types").then((types) => put(main.querySelector("#types"), html`${types.map((t) => html`<option value="${t}"></option>`)}`), () => {});
  const place = main.querySelector("#found");
  if (words) {
    const found = await ask("v1/search", { q: words, k: 30 });
    put(place, html`<h2>Nearest in the shared space</h2>${list("Items found", found.items, "cosine")}`);
  } else if (id) {
    const [known, near, own] = await Promise.all([
      ask("v1/item", { type, id, k: 20 }).catch(missing),
      ask("v1/similar", { type, id, k: 20, titles: true }).catch(missing),
      ask("console/rights"),
    ]);
    if (!known) {
      put(place, html`<p class="empty">The ${type} <bdi>${id}</bdi> is not in the catalogue, and no user has it. Ids are case-sensitive.</p>`);
      return undefined;
    }
    const entry = known.catalogue;
    put(place, html`<h2 class="item">${titled(entry?.title ?? id)} <span class="tag">${type}</span></h2>
      <p class="description" dir="auto">${entry?.description ?? (entry ? "No description." : "Not in the catalogue.")}</p>
      <p class="soft">id <bdi>${id}</bdi>${entry?.language && `, ${entry.language}`}${entry?.genres && html`, <bdi>${entry.genres.join(", ")}</bdi>`}. ${counted(known.users, "user")} had it in the window. ${known.recommendable ? "It can be recommended." : "It has no vector yet: it can be recommended when the next bundle includes it."}</p>
      <div class="columns"><section><h2>Graph neighbours (same users)</h2>
        ${table("Neighbours in the graph", [{ name: "users of both", number: true }, "item", "type"], known.neighbours.map((n) => [count(n.users), itemLink(n), n.item_type]), "No user had it together with another item in the window.")}</section>
      <section><h2>Nearest items</h2>${near ? list("Neighbours in the space", near.items, "cosine") : html`<p class="empty">The current bundle has no vector for it.</p>`}</section></div>
      <div id="times">${loading}</div>
      ${entry && html`<section id="takedown"></section>`}`);
    const down = entry && takedown(place.querySelector("#takedown"), { type, id, title: entry.title }, own.rights.includes("items"));
    const times = await itemTimes(place.querySelector("#times"), type, id);
    return () => { down?.(); times?.(); };
  }
  if (!words && !id) put(place, html`<p class="empty">Enter a description to find the items with the nearest vectors, or the type and the id of an item.</p>`);
}

const missing = (error) => { if (error.status === 404) return null; throw error; };

const list = (caption, items, name) =>
  table(caption, [{ name, number: true }, "item", "type"], items.map((i) => [decimals(i.score), itemLink(i), i.item_type]), "Nothing.");
