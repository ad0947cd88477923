import { ask, confirmed, send } from "../api.js";
import { chart } from "../charts.js";
import { bytes, count, date, decimals, html, put, table } from "../html.js";
import { prequential } from "./prequential.js";

// What is served against popularity, what the gate said of bundles, and the way back to an older one.
export async function quality(main) {
  const [bundles, figures] = await Promise.all([ask("v1/generations"), ask("console/quality")]);
  const whole = bundles.filter((b) => !b.problem);
  const pinned = bundles.find((b) => b.pinned);
  put(main, html`<h1>Quality</h1>
    ${pinned && html`<div class="note"><p><strong>${pinned.name} is pinned</strong>: it is served whatever the trainer publishes.</p><p><button type="button" data-unpin class="main">Serve the trainer’s newest again</button></p></div>`}
    ${figures.problem && html`<div class="problem" role="alert"><p>What the trainer measured is missing here. ${figures.problem}</p></div>`}
    <h2 id="prequential-title">HR@10 of what was served, against popularity</h2>
    <p class="note">Each new event is a question: is its item among the ten best of its type that the user did not have? It is asked before anything learns from it.</p>
    <div id="served"></div>
    <h2>What the gate decided</h2>
    ${table("Decisions of the gate", decided, figures.decisions.map(decision), "None yet: the gate judges each bundle before it is published.")}
    <h2 id="hr-title">HR@10 on held-out examples, by generation</h2>
    ${whole.length ? html`<div class="chart" id="hr" role="img" aria-labelledby="hr-title"></div>` : html`<p class="empty">No bundle yet. The trainer publishes the first when it has learnt all examples there are: is there a static bundle, and events after it?</p>`}
    <h2>Generations</h2>
    ${table("Generations", heads, bundles.map(row), "None yet.")}
    <p class="note">Held-out examples are never trained on. A bundle that the gate refuses is not published and is no generation; the one before stays.</p>
    <p id="said" role="status"></p>`);
  const left = prequential(main.querySelector("#served"), figures);
  const place = main.querySelector("#hr");
  const drawn = place && chart(place, {
    xAxis: { type: "category", data: whole.map((b) => b.generation).reverse(), name: "" },
    yAxis: { type: "value", min: 0 },
    series: [{ name: "HR@10", type: "bar", barMaxWidth: 40, data: whole.map((b) => b.metrics.held_out_hr_at_10 ?? null).reverse() }],
  });
  main.onclick = async (event) => {
    const button = event.target.closest("[data-pin], [data-unpin]");
    if (!button) return;
    const name = button.dataset.pin;
    const sure = name
      ? await confirmed(`Serve ${name}?`, "All workers and consoles will load this bundle and stay with it, whatever the trainer publishes, until you take the pin off.")
      : await confirmed("Take the pin off?", "All workers and consoles will load the trainer’s newest bundle.");
    if (!sure) return;
    const said = main.querySelector("#said");
    try {
      await (name ? send("PUT", "v1/pin", { name }) : send("DELETE", "v1/pin"));
      said.textContent = "Said on the models topic; it is served in a few seconds.";
      said.className = "good";
    } catch (error) {
      said.textContent = `Not done: ${error.message}`;
      said.className = "bad";
    }
  };
  return () => { left(); drawn?.close(); main.onclick = null; };
}

const heads = ["bundle", "made (UTC)", { name: "held-out HR@10", number: true }, { name: "NDCG", number: true }, { name: "examples", number: true }, "graph", { name: "size", number: true }, ""];

const row = (b) => b.problem ? [b.name, html`<span class="bad">${b.problem}</span>`, "", "", "", "", "", ""] : [
  html`${b.name} ${b.served && html`<span class="tag">served</span>`} ${b.pinned && html`<span class="tag">pinned</span>`}`,
  date(b.created_at), decimals(b.metrics.held_out_hr_at_10), decimals(b.metrics.held_out_ndcg), count(b.metrics.examples), b.static ?? "–", bytes(b.bytes),
  b.pinned ? "" : html`<button type="button" data-pin="${b.name}">${b.served ? "Pin" : "Roll back to it"}</button>`,
];

const decided = ["decision", "bundle", "why", { name: "held-out HR@10", number: true }, { name: "of the one served", number: true }, { name: "examples", number: true }, "when (UTC)"];

const decision = (d) => [
  d.reasons.length ? html`<strong class="bad">✕ refused</strong>` : html`<span class="good">✓ published</span>`, d.bundle,
  d.reasons.length ? html`<ul class="reasons">${d.reasons.map((r) => html`<li>${r}</li>`)}</ul>` : d.hr_at_10 === null ? "too few examples to compare" : "as good as the one served, or nearly",
  decimals(d.hr_at_10), d.served_hr_at_10 === null ? "–" : `${decimals(d.served_hr_at_10)} (${d.served})`, count(d.held_out), date(d.at),
];
