import { ask } from "../api.js";
import { colour, chart } from "../charts.js";
import { count, counted, html, itemLink, put, short, table, titled, whole } from "../html.js";

// When an item was wanted, and from which days the edges to its strongest neighbours come.
export async function itemTimes(place, type, id) {
  const [demand, edges] = await Promise.all([ask("v1/item/demand", { type, id }), ask("v1/item/edges", { type, id, k: 8 })]);
  const names = demand.starts.map((ms) => label(ms, demand.bucket_ms));
  put(place, html`
    <h2 id="demand-title">Popularity over time</h2>${wanted(demand, names)}
    <h2 id="edges-title">Edges by date</h2>${joined(edges, names)}`);
  const drawn = [];
  const draw = (spot, series) => {
    const found = place.querySelector(spot);
    if (found) drawn.push(chart(found, stacked(names, series)));
  };
  draw("#demand", demand.markets.map((m) => [short(market(m)), m.events]));
  draw("#edges", edges.neighbours.map((n) => [short(n.title || n.item_id), n.by_bucket]));
  return () => drawn.forEach((d) => d.close());
}

const DAY = 86400000;
const label = (ms, span) => new Date(ms).toISOString().slice(0, span % DAY ? 16 : 10).replace("T", " ");
const market = (m) => (m.market === null ? "other markets" : m.countries.length ? m.countries.join(" or ") : m.market === 0 ? "no country" : `market ${m.market}`);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const number = (name) => ({ name, number: true });

function wanted(demand, names) {
  const all = sum(demand.events);
  if (!all) return html`<p class="empty">No user had it in the window.</p>`;
  const most = Math.max(...demand.events);
  const rows = names.map((name, n) => [name, count(demand.events[n]), ...demand.markets.map((m) => count(m.events[n]))]).filter((_, n) => demand.events[n]).reverse();
  return html`<p class="soft" id="demand-said">${counted(all, "event")} since ${names[0]}, most on ${names[demand.events.indexOf(most)]}: ${count(most)}.
      Counts every event of the kinds that form edges; days are UTC.</p>
    <div class="chart" id="demand" role="img" aria-labelledby="demand-title" aria-describedby="demand-said"></div>
    <details><summary>As a table</summary><div class="long">${table("Events by day", ["from", number("events"), ...demand.markets.map((m) => number(market(m)))], rows, "")}</div></details>`;
}

function joined(edges, names) {
  const last = (n) => names[n.by_bucket.findLastIndex((users) => users > 0)] ?? "–";
  const half = (n) => {
    let seen = 0;
    return names[n.by_bucket.findIndex((users) => (seen += users) * 2 >= n.users)] ?? "–";
  };
  if (!edges.neighbours.length) return html`<p class="empty">It has no edges: no user had it together with another item in the window.</p>`;
  return html`<p class="soft" id="edges-said">Users of both items, of the ${edges.neighbours.length} strongest neighbours, by day: the earlier of the user’s latest events on the two items.
      When a day leaves the window, its users leave the edge.</p>
    <div class="chart" id="edges" role="img" aria-labelledby="edges-title" aria-describedby="edges-said"></div>
    ${table("Edges by day", [number("users of both"), "item", "median day", "newest"], edges.neighbours.map((n) => [count(n.users), itemLink(n), whole(half(n)), whole(last(n))]), "")}
    <details><summary>By day, as a table</summary><div class="long">${table("Users of both by day", ["from", ...edges.neighbours.map((n) => number(titled(n.title || n.item_id)))],
      names.map((name, at) => [name, ...edges.neighbours.map((n) => count(n.by_bucket[at]))]).filter((_, at) => edges.neighbours.some((n) => n.by_bucket[at])).reverse(), "")}</div></details>`;
}

// Bars one on the other; patterns tell them apart where colours do not.
const PATTERNS = [{ symbol: "none" }, { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -0.785 }, { symbol: "circle", symbolSize: 0.7 }, { symbol: "triangle", symbolSize: 0.7 },
  { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: 0.785 }, { symbol: "diamond", symbolSize: 0.7 }, { symbol: "rect", dashArrayX: [2, 4], dashArrayY: [2, 4] }, { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [1, 3] }];
const stacked = (names, series) => ({
  grid: { left: 8, right: 16, top: 60, bottom: 8, containLabel: true },
  tooltip: { axisPointer: { type: "shadow" }, order: "valueDesc" },
  xAxis: { type: "category", data: names }, yAxis: { type: "value", minInterval: 1 },
  series: series.map(([name, data], n) => ({ name, type: "bar", stack: "all", data, barCategoryGap: "10%", itemStyle: { color: colour(n), decal: { ...PATTERNS[n % 8], color: "rgba(255,255,255,.55)" } } })),
});
