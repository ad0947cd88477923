import { chart, colour } from "../charts.js";
import { count, html, percent, put, table } from "../html.js";

const number = (name) => ({ name, number: true });
const heads = (by) => [by, number("shown"), number("taken"), number("click-through"), number("95 % interval")];
const cells = (r) => [count(r.shown), count(r.taken), percent(r.rate), interval(r)];
const interval = (r) => `${percent(r.low)} to ${percent(r.high)}`;

// How often what is shown is taken, by position and by list; the lines around it are the interval.
export function clickThrough(place, found) {
  if (!found) {
    put(place, html`<p class="empty">No impressions are read. Name a source of format <code>impressions</code> in the settings of workers and consoles: docs/impressions.md.</p>`);
    return () => {};
  }
  if (!found.rows.length) {
    put(place, html`<p class="empty">No impressions in the last ${count(found.buckets)} days.</p>`);
    return () => {};
  }
  const placed = found.rows.filter((r) => r.position !== "unknown");
  const best = placed.reduce((a, b) => (b.rate > a.rate ? b : a), found.rows[0]);
  put(place, html`<p class="note">An item counts as shown once per user and day, at the position of its first impression of that day. It counts as taken if the user has an event of the graph kinds on it within ${count(found.hours)} hours. The last ${count(Math.round((found.buckets * found.bucket_ms) / 864e5))} days, all lists and items.</p>
    <div class="chart" id="click-through" role="img" aria-labelledby="click-through-title" aria-describedby="click-through-said"></div>
    <p class="soft" id="click-through-said">Highest at position ${best.position}: ${percent(best.rate)} of ${count(best.shown)} (95 % interval ${interval(best)}).</p>
    ${table("Click-through by list", heads("list"), found.lists.map((r) => [r.list ?? html`<em>other lists, or none named</em>`, ...cells(r)]), "")}
    <p class="soft">An item counts for the list of its first impression of that day: the part of <code>list_id</code> before the slash.</p>
    ${table("Click-through by position", heads("position"), found.rows.map((r) => [r.position, ...cells(r)]), "")}`);
  const ends = (name, key) => ({ name, type: "line", showSymbol: false, color: colour(0), lineStyle: { width: 1, type: "dashed" }, data: placed.map((r) => r[key]) });
  const drawn = chart(place.querySelector("#click-through"), {
    tooltip: { valueFormatter: percent }, xAxis: { type: "category", name: "position", nameLocation: "middle", nameGap: 28, data: placed.map((r) => r.position) },
    yAxis: { type: "value", min: 0, axisLabel: { formatter: percent } }, grid: { left: 8, right: 16, top: 36, bottom: 24, containLabel: true },
    series: [{ name: "click-through", type: "line", showSymbol: true, symbolSize: 8, color: colour(0), data: placed.map((r) => r.rate) }, ends("interval, low", "low"), ends("interval, high", "high")] });
  return drawn.close;
}
