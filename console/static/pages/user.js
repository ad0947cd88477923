import { ask } from "../api.js";
import { colour, SHAPES, chart } from "../charts.js";
import { clock, count, counted, date, decimals, html, itemLink, loading, percent, put, short } from "../html.js";
import { erasure } from "./erasure.js";

// A user's history on a time line, and the current list with the reasons for each place.
export async function user(main, query) {
  const id = query.get("user") ?? "";
  put(main, html`<h1>User</h1>
    <form class="search" role="search"><label>User id <input name="user" value="${id}" list="people" autocomplete="off" maxlength="256" required></label>
    <datalist id="people"></datalist><button class="main">Show</button></form><div id="found">${loading}</div>`);
  const form = main.querySelector("form");
  const field = form.elements.user;
  form.onsubmit = (event) => { event.preventDefault(); location.hash = `#/user?user=${encodeURIComponent(field.value)}`; };
  field.oninput = async () => {
    const people = field.value ? await ask("console/people", { q: field.value }).catch(() => []) : [];
    put(main.querySelector("#people"), html`${people.map((id) => html`<option value="${id}"></option>`)}`);
  };
  const place = main.querySelector("#found");
  if (!id) {
    await ask("console/people", { q: "~" });
    put(place, html`<p class="empty">Enter the start of a user id. This page stores no data of users.</p>`);
    return undefined;
  }
  const found = await ask("console/user", { user: id, k: 10 });
  const best = found.recommended[0]?.score;
  put(place, html`
    <p>${found.cold ? html`<strong>Cold</strong>: no item of the history has a vector, so the list shows popular items of the user’s market.` : html`<strong>Warm</strong>: ${counted(found.entries, "item")} in the window.`}
      <span class="soft">${found.arm && html`Arm <bdi>${found.arm}</bdi>. `}Generation ${found.generation}; includes all events of partition ${found.partition} below offset ${count(found.position)} of ${found.topic}.
      ${Object.entries(found.attributes).filter(([n]) => !["user_id", "logged_at"].includes(n)).map(([n, v]) => html`<bdi>${n}</bdi>: <bdi>${typeof v === "object" ? JSON.stringify(v) : v}</bdi>. `)}</span></p>
    <div class="columns"><section><h2>Recommended now</h2>
      ${found.recommended.length ? html`<p class="soft">${ranked(found, best)}</p><ol class="places">${found.recommended.map((r) => placed(r, share(r.score, best, found.by_head)))}</ol>` : html`<p class="empty">No items left to recommend.</p>`}</section>
    <section><h2 id="line-title">History</h2>
      ${found.history.length ? html`<div class="chart" id="line" role="img" aria-labelledby="line-title"></div>
      <ol class="places">${found.history.slice(0, 50).map((h) => html`<li>${itemLink(h)} <span class="tag">${h.item_type}</span> <span class="soft">${date(h.time)}${h.strong_time === null && ", weak signals only"}${h.visits.length > 1 && `, on ${h.visits.length} days or more`}</span></li>`)}</ol>`
      : html`<p class="empty">No history in the window. Check the id: an unknown id looks like a new user.</p>`}</section></div>
    <section id="erasure"></section>`);
  const leave = erasure(place.querySelector("#erasure"), id, found.may_erase);
  const spot = place.querySelector("#line");
  const drawn = spot && chart(spot, timeline(found.history));
  return () => { leave(); drawn?.close(); };
}

// Share of the list's best score. A head's scores are logarithms of probabilities, so their
// difference is the logarithm of a ratio; others are compared as they are, if all are positive.
const share = (score, best, byHead) => (byHead ? Math.exp(score - best) : score > 0 && best > 0 ? score / best : null);

const ranked = (found, best) => html`Ranked by ${found.by_head ? "the ranking head" : "the two-tower model and recent demand"}. ${
  found.by_head ? "The bar is the item’s probability compared with the first item’s." : best > 0 ? "The bar is the share of the first item’s score." : "Scores of this list are not positive, so only their order says something."}`;

// Names of the parts of a score, as the user page shows them.
const PARTS = {
  weights: "users who had items of the history", vectors: "content near the history",
  shown: "shown before and not taken", towers: "two-tower model",
  demand: "recent demand", age: "age of the item", user: "activity of the user",
  candidates: "competing candidates", type: "share of the type in the history",
  affinity: "two-tower model", popularity: "recent demand", dislikes: "close to a disliked item", rules: "rules of the list",
};
// Parts that are the same for all items of a type say nothing of this item.
const SHARED = ["candidates", "user", "type"];
const MAIN = 2;
const parts = (r) => Object.entries(r.parts).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));

const placed = (r, of) => html`<li>${itemLink(r)} <span class="tag">${r.item_type}</span> ${r.new && html`<span class="tag">new</span>`}
  ${of !== null && html`<span class="share"><meter min="0" max="1" value="${of.toFixed(4)}" aria-label="share of the best score"></meter> ${percent(of)}</span>`}
  <p class="why">${reasons(r)}</p>
  <details><summary>Parts of the score ${decimals(r.score, 2)}</summary>
  <ul>${parts(r).map(([name, value]) => html`<li>${PARTS[name] ?? name}: ${value < 0 ? "−" : "+"}${decimals(Math.abs(value), 2)}</li>`)}</ul></details></li>`;

// The reasons in words: what the user had, what other users had, and the greatest parts.
function reasons(r) {
  const [near] = r.nearest;
  const [both] = r.together;
  const most = parts(r).filter(([name, value]) => value > 0 && !SHARED.includes(name)).slice(0, MAIN).map(([name]) => PARTS[name] ?? name);
  return html`${near && html`Close to ${itemLink(near)} in the history (cosine ${decimals(near.cosine, 2)}). `}
    ${both ? html`${counted(both.users, "user")} had it together with ${itemLink(both)}. ` : html`No user had it together with an item of the history${r.users > 0 && `; ${counted(r.users, "user")} had it`}. `}
    ${most.length > 0 && `Mostly: ${most.join(", ")}.`}`;
}

function timeline(history) {
  const types = [...new Set(history.map((h) => h.item_type))].sort();
  return {
    tooltip: { trigger: "item", formatter: (p) => `${echarts.format.encodeHTML(short(p.data.name, 80))}<br>${clock(p.data.value[0])} UTC` },
    xAxis: { type: "time" }, yAxis: { type: "category", data: types },
    series: types.map((type, n) => ({
      name: type, type: "scatter", symbol: SHAPES[n % 8], symbolSize: 11, itemStyle: { color: colour(n) },
      data: history.filter((h) => h.item_type === type).map((h) => ({ name: h.title, value: [h.time, type] })),
    })),
  };
}
