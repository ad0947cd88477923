import { ask } from "../api.js";
import { colour, chart } from "../charts.js";
import { count, date, decimals, html, put, table } from "../html.js";
import { bundles } from "./bundles.js";
import { prequential } from "./prequential.js";

// What is served against popularity, what the gate said of bundles, and the way back to an older one.
export async function quality(main) {
  const [channels, found, figures] = await Promise.all([ask("v1/channels"), ask("v1/generations"), ask("console/quality")]);
  const whole = found.filter((b) => !b.problem);
  put(main, html`<h1>Quality</h1>
    ${figures.problem && html`<div class="problem" role="alert"><p>What the trainer measured is missing here. ${figures.problem}</p></div>`}
    <h2>What is served</h2>
    <div id="channels"></div>
    <h2 id="prequential-title">HR@10 of what was served, against popularity</h2>
    <p class="note">Each new event is a question: is its item among the ten best of its type that the user did not have? It is asked before anything learns from it. Events on items that the bundle did not know are misses, under <code>unknown</code>.</p>
    <div id="served"></div>
    <h2>What the gate decided</h2>
    ${table("Decisions of the gate", decided, figures.decisions.map(decision), "None yet: the gate judges each bundle before it is published.")}
    <h2 id="hr-title">HR@10 on held-out examples, by generation</h2>
    ${whole.length ? html`<div class="chart" id="hr" role="img" aria-labelledby="hr-title"></div>` : html`<p class="empty">No bundle yet. The trainer publishes the first when it has learnt all examples there are: is there a static bundle, and events after it?</p>`}
    <h2>Generations</h2>
    <div id="bundles"></div>
    <p class="note">Held-out examples are never trained on. A bundle that the gate refuses is not published and is no generation; the one before stays.</p>
    <p id="said" role="status"></p>`);
  const left = prequential(main.querySelector("#served"), figures);
  const place = main.querySelector("#hr");
  const drawn = place && chart(place, byGeneration(whole));
  const leave = bundles(main, channels, found);
  return () => { left(); leave(); drawn?.close(); };
}

// Channels number their generations apart: bars of one number stand side by side.
function byGeneration(whole) {
  const generations = [...new Set(whole.map((b) => b.generation))].sort((a, b) => a - b);
  const channels = [...new Set(whole.map((b) => b.channel))].sort();
  const bars = channels.map((channel, n) => {
    const of = new Map(whole.filter((b) => b.channel === channel).map((b) => [b.generation, b.metrics.held_out_hr_at_10]));
    return { name: channels.length > 1 ? channel : "HR@10", type: "bar", barMaxWidth: 40, color: colour(n), data: generations.map((g) => of.get(g) ?? null) };
  });
  return { tooltip: { valueFormatter: (v) => decimals(v) }, 
    xAxis: { type: "category", data: generations.map(String) }, yAxis: { type: "value", min: 0 }, series: bars };
}

const decided = ["decision", "bundle", { name: "why", wide: true }, { name: "held-out HR@10", number: true }, { name: "of the one served", number: true }, { name: "examples", number: true }, "when (UTC)"];

const decision = (d) => [
  d.reasons.length ? html`<strong class="bad">✕ refused</strong>` : html`<span class="good">✓ published</span>`, d.bundle,
  d.reasons.length ? html`<ul class="reasons">${d.reasons.map((r) => html`<li>${r}</li>`)}</ul>` : d.hr_at_10 === null ? "too few examples to compare" : "as good as the one served, or nearly",
  decimals(d.hr_at_10), d.served_hr_at_10 === null ? "–" : `${decimals(d.served_hr_at_10)} (${d.served})`, count(d.held_out), date(d.at),
];
