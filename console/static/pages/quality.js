import { ask } from "../api.js";
import { colour, chart } from "../charts.js";
import { count, date, decimals, html, put, table } from "../html.js";
import { bundles } from "./bundles.js";
import { clickThrough } from "./clickthrough.js";
import { exploration } from "./exploration.js";
import { prequential } from "./prequential.js";

// Served bundles against popularity, what the gate said of bundles, and the way back to an older one.
export async function quality(main) {
  const [channels, found, figures] = await Promise.all([ask("v1/channels"), ask("v1/generations"), ask("console/quality")]);
  const whole = found.filter((b) => !b.problem);
  const measured = whole.some((b) => b.metrics.held_out_hr_at_10 !== undefined);
  put(main, html`<h1>Quality</h1>
    ${figures.problem && html`<div class="problem" role="alert"><p>The trainer’s measurements are missing. ${figures.problem}</p></div>`}
    <h2>Served bundles</h2>
    <div id="channels"></div>
    <h2 id="prequential-title">Prequential HR@10 of served bundles, compared with popularity</h2>
    <p class="note">For each new event: is its item among the top ten of its type, without items that the user already had? Measured before the models learn from the event. Events on items that the bundle does not know count as misses, under <code>unknown</code>.</p>
    <div id="served"></div>
    <h2 id="click-through-title">Click-through by position</h2>
    <div id="shown"></div>
    <h2>Exploration of new items</h2>
    <div id="explored"></div>
    <h2>Decisions of the gate</h2>
    ${table("Decisions of the gate", decided, figures.decisions.map(decision), "None yet: the gate evaluates each bundle before publication.")}
    <h2 id="hr-title">Held-out HR@10, by generation</h2>
    ${measured ? html`<div class="chart" id="hr" role="img" aria-labelledby="hr-title"></div>` : whole.length ? html`<p class="empty">Not measured: too few held-out examples so far.</p>` : html`<p class="empty">No bundle yet. The trainer publishes the first bundle when it has learned from all examples. Check that there is a static bundle, and events after it.</p>`}
    <h2>Generations</h2>
    <div id="bundles"></div>
    <p class="note">Models never train on held-out examples. A bundle that the gate refuses is not published; the previous one stays.</p>
    <p id="said" role="status"></p>`);
  const left = prequential(main.querySelector("#served"), figures);
  const leftShown = clickThrough(main.querySelector("#shown"), figures.click_through);
  exploration(main.querySelector("#explored"), figures.exploration);
  const place = main.querySelector("#hr");
  const drawn = place && chart(place, byGeneration(whole));
  const leave = bundles(main, channels, found);
  return () => { left(); leftShown(); leave(); drawn?.close(); };
}

// Channels number their generations apart: bars of one number stand side by side.
function byGeneration(whole) {
  const generations = [...new Set(whole.map((b) => b.generation))].sort((a, b) => a - b);
  const channels = [...new Set(whole.map((b) => b.channel))].sort();
  const bars = channels.map((channel, n) => {
    const of = new Map(whole.filter((b) => b.channel === channel).map((b) => [b.generation, b.metrics.held_out_hr_at_10]));
    return { name: channels.length > 1 ? channel : "held-out HR@10", type: "bar", barMaxWidth: 40, color: colour(n), data: generations.map((g) => of.get(g) ?? null) };
  });
  return { tooltip: { valueFormatter: (v) => decimals(v) }, 
    xAxis: { type: "category", data: generations.map(String) }, yAxis: { type: "value", min: 0 }, series: bars };
}

const decided = ["decision", "bundle", { name: "why", wide: true }, { name: "held-out HR@10", number: true }, { name: "that of the served bundle", number: true }, { name: "examples", number: true }, "when (UTC)"];

const decision = (d) => [
  d.reasons.length ? html`<strong class="bad">✕ refused</strong>` : html`<span class="good">✓ published</span>`, d.bundle,
  d.reasons.length ? html`<ul class="reasons">${d.reasons.map((r) => html`<li>${r}</li>`)}</ul>` : d.hr_at_10 === null ? "too few examples to compare" : html`not worse than the served bundle by more than the limit${d.popularity_types?.length ? `; serves live popularity for ${d.popularity_types.join(", ")}` : ""}`,
  decimals(d.hr_at_10), d.served_hr_at_10 === null ? "–" : `${decimals(d.served_hr_at_10)} (${d.served})`, count(d.held_out), date(d.at),
];
