import { ask } from "../api.js";
import { bytes, count, date, html, put, table, whole } from "../html.js";

// What the artifact store holds: checkpoints of the states, bundles of the models.
export async function checkpoints(main) {
  const [found, bundles] = await Promise.all([ask("console/checkpoints"), ask("v1/generations")]);
  const number = (name) => ({ name, number: true });
  put(main, html`<h1>Checkpoints and generations</h1><h2>Checkpoints</h2>
    ${table("Checkpoints", [number("partition"), "made (UTC)", "read up to", number("applied"), number("refused"), number("size"), "events lost"],
      found.map((c) => c.problem ? [c.partition, html`<span class="bad">${c.problem}</span>`, "", "", "", "", ""] : [
        c.partition, date(c.created_at), html`${Object.entries(c.positions).sort().map(([topic, at]) => html`${whole(`${topic}: ${count(at)}`)}<br>`)}`,
        count(c.counts.applied), count(c.counts.refused), bytes(c.bytes), c.missing.map((m) => `${m.topic} ${m.first}–${m.end - 1}`).join(", ") || "none"]),
      "None yet: a worker writes them every few minutes.")}
    <h2>Generations</h2>
    ${table("Generations", ["bundle", "made (UTC)", "graph", number("size"), ""], bundles.map((b) => [b.name, date(b.created_at), b.static ?? "–", bytes(b.bytes), [b.served_on.length && "served", b.pinned_on.length && "pinned", b.problem].filter(Boolean).join(", ")]), "None yet.")}
    <p><a href="#/quality">Measurements and rollback</a></p>`);
}
