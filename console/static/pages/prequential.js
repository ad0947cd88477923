import { colour, SHAPES, chart } from "../charts.js";
import { count, decimals, html, put, table } from "../html.js";

const KINDS = { days: { key: "day", name: "day (UTC)" }, bundles: { key: "generation", name: "bundle" } };
const NEWEST = 200;

// Served bundles, asked about new events before anything learned from them, beside popularity.
export function prequential(place, figures) {
  const rows = figures.days;
  if (!rows.length) {
    put(place, html`<p class="empty">No measurements yet. The trainer evaluates the served bundle on new events before it learns from them. Check that a bundle is served, that events arrive, and that <code>trainer.prequential_per_s</code> is above 0.</p>`);
    return () => {};
  }
  const arms = [...new Set(rows.map((r) => r.arm))].sort();
  put(place, html`<form class="search"><label>One point per <select name="by"><option value="days">day of events</option><option value="bundles">bundle</option></select></label>
      <label>Arm <select name="arm">${arms.map((a) => html`<option>${a}</option>`)}</select></label></form>
    <div class="chart" id="prequential" role="img" aria-labelledby="prequential-title" aria-describedby="prequential-said"></div>
    <p class="soft" id="prequential-said"></p><p class="soft">▲ and ▼: the difference is greater than its 95 % margin. ≈: it can be chance.</p><div class="long" id="prequential-table"></div>`);
  const form = place.querySelector("form");
  const drawn = chart(place.querySelector("#prequential"), { xAxis: { type: "category" }, yAxis: { type: "value", min: 0 }, series: [] });
  const draw = () => {
    const kind = KINDS[form.elements.by.value];
    const chosen = figures[form.elements.by.value].filter((r) => r.arm === form.elements.arm.value);
    const keys = [...new Set(chosen.map((r) => r[kind.key]))];
    const types = [...new Set(chosen.map((r) => r.item_type))].sort();
    const series = types.flatMap((type, n) => {
      const of = new Map(chosen.filter((r) => r.item_type === type).map((r) => [r[kind.key], r]));
      const points = (name) => keys.map((k) => of.get(k)?.[name] ?? null);
      const style = { type: "line", showSymbol: true, color: colour(n) };
      return [
        { ...style, name: `${type}, prequential`, symbol: SHAPES[n % 8], symbolSize: 9, lineStyle: { width: 2.5 }, data: points("hr_at_10") },
        { ...style, name: `${type}, popularity`, symbol: "emptyCircle", symbolSize: 5, lineStyle: { width: 1.5, type: "dashed" }, data: points("popularity_hr_at_10") },
      ];
    });
    drawn.drawn.clear();
    drawn.set({ grid: { left: 8, right: 16, top: 60, bottom: 8, containLabel: true }, tooltip: { valueFormatter: (v) => decimals(v) },
      xAxis: { type: "category", data: keys.map(String) }, yAxis: { type: "value", min: 0 }, series });
    place.querySelector("#prequential-said").textContent = said(chosen, kind);
    const shown = chosen.toReversed().slice(0, NEWEST);
    put(place.querySelector("#prequential-table"), table("Prequential HR@10", heads(kind), shown.map((r) => cells(r, kind)), "No figures for this arm."));
  };
  form.onsubmit = (event) => event.preventDefault();
  form.onchange = draw;
  draw();
  return drawn.close;
}

const number = (name) => ({ name, number: true });
const heads = (kind) => [kind.name, "item type", "arm", number("events evaluated"), number("prequential HR@10"), number("HR@10 of popularity"), number("difference"), number("prequential MRR")];

const cells = (r, kind) => [r[kind.key], r.item_type, r.arm, count(r.examples), `${decimals(r.hr_at_10)} ± ${decimals(margin(r.hr_at_10, r.examples))}`, decimals(r.popularity_hr_at_10), difference(r), decimals(r.mrr)];

// Coloured only where it is greater than chance: both figures have a margin. They are of the same
// events, so this margin is on the safe side.
function difference(r) {
  const better = r.hr_at_10 - r.popularity_hr_at_10;
  const noise = Math.hypot(margin(r.hr_at_10, r.examples), margin(r.popularity_hr_at_10, r.examples));
  const text = `${better < 0 ? "−" : "+"}${decimals(Math.abs(better))}`;
  if (Math.abs(better) <= noise) return html`<span class="soft" title="within the margin of ±${decimals(noise)}">≈ ${text}</span>`;
  return better < 0 ? html`<span class="bad">▼ ${text}</span>` : html`<span class="good">▲ ${text}</span>`;
}

// Half of a 95 % interval of a share (Wilson), which few events leave wide.
const margin = (p, n) => (1.96 / (1 + 3.84 / n)) * Math.sqrt((p * (1 - p)) / n + 0.96 / n ** 2);

// The newest point in words, for screen readers.
function said(rows, kind) {
  const last = rows.at(-1)?.[kind.key];
  const newest = rows.filter((r) => r[kind.key] === last);
  return newest.length ? `Newest (${last}): ${newest.map((r) => `${r.item_type} ${decimals(r.hr_at_10)}, popularity ${decimals(r.popularity_hr_at_10)}`).join("; ")}.` : "";
}
