import { chart, line } from "../charts.js";
import { age, count, html, percent, put, table } from "../html.js";

// The present, told by the server every second.
export async function now(main) {
  put(main, html`<h1>Now</h1><div id="log" role="alert"></div><div id="tiles"></div><div id="channels"></div>
    <div class="columns">
      <section><h2 id="rates-title">Events and recommendations per second</h2><div class="chart" id="rates" role="img" aria-labelledby="rates-title"></div></section>
      <section><h2 id="late-title">From event to recommendation, p95 in ms</h2><div class="chart" id="late" role="img" aria-labelledby="late-title"></div><p class="empty" id="late-said"></p></section>
    </div>
    <h2>Partitions</h2><div id="partitions"></div>`);
  const rates = chart(main.querySelector("#rates"), axes());
  const late = chart(main.querySelector("#late"), axes());
  const source = new EventSource("console/events");
  const said = document.querySelector("#state");
  source.onmessage = (event) => draw(main, rates, late, JSON.parse(event.data));
  source.onerror = () => { said.textContent = "no connection, retrying"; said.className = "bad"; };
  return () => { source.close(); rates.close(); late.close(); said.textContent = ""; };
}

const axes = () => ({ xAxis: { type: "time" }, yAxis: { type: "value", min: 0 }, series: [] });

function draw(main, rates, late, view) {
  const said = document.querySelector("#state");
  said.textContent = view.ready ? "ready" : "not ready: no bundle yet, or still reading the log";
  said.className = view.ready ? "good" : "bad";
  // Written once: an alert is read aloud whenever it changes.
  const log = main.querySelector("#log");
  if (Boolean(log.innerHTML) === view.log_answers)
    put(log, html`${!view.log_answers && html`<p class="problem">Kafka does not answer, or refuses; see the console’s log. Lists use the data that was read before.</p>`}`);
  const last = view.seconds.slice(-10);
  const mean = (name) => (last.length ? (last.reduce((sum, s) => sum + s[name], 0) / last.length).toFixed(1) : "–");
  const bundles = view.channels.map((c) => ({ ...c, trained: view.models[c.channel === "default" ? "dynamic" : `dynamic/${c.channel}`] }));
  const [only] = bundles;
  const tiles = {
    "Events per second": mean("events"),
    "Recommendations per second": mean("answers"),
    "Event to recommendation, p50": ms(view.latency_ms.p50),
    "p95": ms(view.latency_ms.p95),
    "p99": ms(view.latency_ms.p99),
    ...(bundles.length > 1 ? {} : {
      "Generation served": only.generation ?? "none",
      "Pinned": only.pinned ?? "no",
      "Trainer’s newest bundle": made(only, view),
      "Trained on": examples(only),
    }),
    "Served by workers, last minute": view.served.map((s) => `${s.arm && `${s.arm}, `}generation ${s.generation}: ${count(s.count)}`).join("; ") || "nothing",
    "Records since start": count(view.records),
    "Refused records": count(view.refused),
  };
  put(main.querySelector("#tiles"), html`<dl class="tiles">${Object.entries(tiles).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`);
  if (bundles.length > 1)
    put(main.querySelector("#channels"), html`<h2>Channels</h2>${table("Channels", ["channel", "users", "bundle served", "trainer’s newest bundle", "trained on"],
      bundles.map((b) => [b.channel, users(b), html`${b.served ?? "none"} ${b.pinned && html`<span class="tag">pinned</span>`}`, made(b, view), examples(b)]), "")}`);
  const points = (name) => view.seconds.map((s) => [s.time * 1000, s[name]]);
  rates.set({ ...axes(), series: [line("events", points("events")), line("recommendations", points("answers"), { lineStyle: { type: "dashed" } })] });
  late.set({ ...axes(), series: [line("p95", points("p95_ms"), { showSymbol: true, connectNulls: false })] });
  const any = view.seconds.some((s) => s.p95_ms !== null);
  main.querySelector("#late").hidden = !any;
  if (any) late.drawn.resize();
  main.querySelector("#late-said").hidden = any;
  main.querySelector("#late-said").textContent = any ? "" : "No recommendation for an event since this console started, or in the last five minutes.";
  const heads = [{ name: "partition", number: true }, { name: "position", number: true }, { name: "workers’ lag", number: true }, { name: "last event", number: true }];
  put(main.querySelector("#partitions"), table("Partitions", heads,
    view.partitions.map((p) => [p.partition, count(p.position), count(p.workers_lag), p.last_applied_ms ? `${age(p.last_applied_ms, view.time)} ago` : "not yet"]),
    "No partitions. Create the topics with: segue topics create"));
}

const users = (c) => c.arms.map((a) => `${a.name}: ${percent(a.share)}`).join(", ") || "none";
const made = (b, view) => (b.trained ? `${age(b.trained.created_at, view.time)} old` : "none");
const examples = (b) => (b.trained ? `${count(b.trained.metrics.examples)} examples` : "–");
const ms = (n) => (n === null ? "–" : `${count(Math.round(n))} ms`);
