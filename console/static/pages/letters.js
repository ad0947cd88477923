import { ask } from "../api.js";
import { chart } from "../charts.js";
import { bytes, count, date, html, put, table } from "../html.js";

// Records that could not be applied, by reason, with the newest as samples.
export async function letters(main) {
  const found = await ask("console/letters");
  const reasons = Object.entries(found.reasons);
  put(main, html`<h1>Dead letters</h1>
    ${reasons.length ? html`<h2 id="reasons-title">By reason (newest dead letters)</h2><div class="chart" id="reasons" role="img" aria-labelledby="reasons-title"></div>
      ${table("Reasons", ["reason", { name: "letters", number: true }], reasons.map(([name, n]) => [name, count(n)]), "")}` : ""}
    <h2>Samples</h2>
    ${table("Dead letters", ["logged (UTC)", "reason", "place", { name: "error", wide: true }, "record"],
      found.letters.map((l) => [date(l.logged_at), l.reason, `${l.source.topic}/${l.source.partition}/${l.source.offset}`, l.detail,
        html`<details><summary>${bytes(l.payload_bytes)}${l.encoding === "base64" && ", base64"}</summary><pre>${l.payload}</pre></details>`]),
      "None: all records are applied.")}`);
  const place = main.querySelector("#reasons");
  return place ? chart(place, {
    xAxis: { type: "value", minInterval: 1 }, yAxis: { type: "category", data: reasons.map(([name]) => name).reverse() },
    series: [{ name: "letters", type: "bar", barMaxWidth: 28, data: reasons.map(([, n]) => n).reverse() }],
  }).close : undefined;
}
