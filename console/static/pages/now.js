import { ask } from "../api.js";
import { chart, line, sparkline } from "../charts.js";
import { age, clock, count, html, percent, put, table, timeOfDay } from "../html.js";
import { robustEnd, spikes } from "../robust.js";
import { runbook } from "../runbook.js";

// Seconds that the charts show -> their name; the server keeps these ranges.
const RANGES = { 300: "5 minutes", 3600: "1 hour", 86400: "24 hours" };
const LIVE = 300;
// Spikes that have their value written on them.
const NAMED = 3;

// The present, told by the server every second: health first, then rate, latency and lag.
export async function now(main) {
  put(main, html`<h1>Now</h1>
    <div id="health" role="status"><p class="health">Loading …</p></div>
    <form class="controls"><label>Time range <select name="range">${Object.entries(RANGES).map(([s, name]) => html`<option value="${s}">${name}</option>`)}</select></label>
      <button type="button" name="pause" aria-pressed="false">Pause</button> <span id="clock" class="soft"></span></form>
    <div id="leading"></div>
    <div class="columns">
      <section><h2 id="rates-title">Events and recommendations per second</h2><div class="chart" id="rates" role="img" aria-labelledby="rates-title" aria-describedby="rates-said"></div><p class="soft" id="rates-said"></p></section>
      <section><h2 id="late-title">From event to recommendation, p95 in ms</h2><div class="chart" id="late" role="img" aria-labelledby="late-title" aria-describedby="late-said"></div><p class="soft" id="late-said"></p></section>
    </div>
    <h2>Models and records</h2><div id="tiles"></div><div id="channels"></div>
    <h2>Partitions</h2><div id="partitions"></div>`);
  const form = main.querySelector("form");
  const pause = form.elements.pause;
  const rates = chart(main.querySelector("#rates"), axes());
  const late = chart(main.querySelector("#late"), axes());
  const said = document.querySelector("#state");
  let view = null;
  let longer = null;
  let failed = "";
  let paused = false;
  let left = false;

  const range = () => Number(form.elements.range.value);
  const draw = () => {
    if (!view || left) return;
    const points = range() === LIVE ? view.seconds : (longer?.points ?? []);
    lead(main, view, points);
    figures(main, view);
    drawRates(main, rates, view, points, range());
    drawLate(main, late, view, points, range());
    if (range() !== LIVE && !longer)
      for (const id of ["#rates-said", "#late-said"]) main.querySelector(id).textContent = failed || "Loading …";
  };
  // Points of longer ranges change slowly, and come only when they are shown.
  const askLonger = async () => {
    const wanted = range();
    if (wanted === LIVE) return;
    let found = null;
    try {
      found = await ask("console/series", { seconds: wanted });
      failed = "";
    } catch (error) {
      failed = `Couldn’t load: ${error.message}`;
    }
    if (left || range() !== wanted) return;
    longer = found ?? longer;
    draw();
  };
  let asked = 0;
  const source = new EventSource("console/events");
  source.onmessage = (event) => {
    if (paused) return;
    view = JSON.parse(event.data);
    said.textContent = view.ready ? "ready" : "not ready";
    said.className = view.ready ? "good" : "bad";
    health(main, view);
    draw();
    if (asked++ % 15 === 0) askLonger();
  };
  source.onerror = () => {
    said.textContent = "no connection, retrying";
    said.className = "bad";
    tell(main, html`<p class="health bad"><span aria-hidden="true">✕</span> Couldn’t load: the console does not answer. Trying again. The figures below are old.</p>`);
  };
  form.onsubmit = (event) => event.preventDefault();
  form.onchange = () => { longer = null; failed = ""; draw(); askLonger(); };
  pause.onclick = () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (view) main.querySelector("#clock").textContent = `${paused ? "Paused at " : ""}${clock(view.time)} UTC`;
  };
  return () => { left = true; source.close(); rates.close(); late.close(); said.textContent = said.className = ""; };
}

// Written only when it changes: a status is read aloud each time.
function tell(main, what) {
  const place = main.querySelector("#health");
  if (place.dataset.said === what.text) return;
  place.dataset.said = what.text;
  put(place, what);
}

function health(main, view) {
  const [first, ...others] = view.findings;
  const one = (f) => html`${f.text} ${runbook(f.runbook, view.docs_url)}`;
  tell(main, first
    ? html`<p class="health ${first.level}"><span aria-hidden="true">${first.level === "bad" ? "✕" : "!"}</span> ${one(first)}</p>
      ${others.length > 0 && html`<ul class="reasons">${others.map((f) => html`<li class="${f.level}">${one(f)}</li>`)}</ul>`}`
    : html`<p class="health good"><span aria-hidden="true">✓</span> Segue is healthy: ${view.seconds.some((s) => s.events) ? "records are applied, lists are made, and a current bundle is served" : "a current bundle is served. No events arrived in the last five minutes"}.</p>`);
}

const of = (points, name) => points.map((p) => [p.time * 1000, p[name]]);
const values = (points, name) => points.map((p) => p[name]);

function lead(main, view, points) {
  const last = view.seconds.slice(-10);
  const mean = (name) => (last.length ? (last.reduce((sum, s) => sum + s[name], 0) / last.length).toFixed(1) : "–");
  const lag = view.seconds.at(-1)?.lag ?? null;
  const tiles = [
    ["Events per second", mean("events"), "mean of 10 s", "events"],
    ["Recommendations per second", mean("answers"), "mean of 10 s", "answers"],
    ["Latency p95", ms(view.latency_ms.p95), "event to recommendation, last minute", "p95_ms"],
    ["Workers’ lag", lag === null ? "–" : count(lag), lag === null ? "unknown: no consumer group" : "records not yet applied", "lag"],
  ];
  put(main.querySelector("#leading"), html`<dl class="tiles">${tiles.map(([name, value, more, of]) => html`<div><dt>${name}</dt><dd>${value}</dd><dd class="more">${more}</dd>${sparkline(values(points, of), robustEnd(values(points, of)))}</div>`)}</dl>`);
  if (!main.querySelector("[name=pause][aria-pressed=true]")) main.querySelector("#clock").textContent = `${clock(view.time)} UTC`;
}

function figures(main, view) {
  const bundles = view.channels.map((c) => ({ ...c, trained: view.models[c.channel === "default" ? "dynamic" : `dynamic/${c.channel}`] }));
  const [only] = bundles;
  const tiles = {
    "Latency p50": ms(view.latency_ms.p50),
    "Latency p99": ms(view.latency_ms.p99),
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
  const heads = [{ name: "partition", number: true }, { name: "position", number: true }, { name: "workers’ lag", number: true }, { name: "last event", number: true }];
  put(main.querySelector("#partitions"), table("Partitions", heads,
    view.partitions.map((p) => [p.partition, count(p.position), count(p.workers_lag), p.last_applied_ms ? `${age(p.last_applied_ms, view.time)} ago` : "none since start"]),
    "No partitions. Create the topics with: segue topics create"));
}

const axes = () => ({ xAxis: { type: "time" }, yAxis: { type: "value", min: 0 }, series: [] });

// Axes of a range that ends now. Beyond `end` values are cut off; null takes an earlier end away.
const ranged = (view, seconds, end) => ({
  xAxis: { type: "time", min: view.time - seconds * 1000, max: view.time, axisLabel: { formatter: timeOfDay } },
  yAxis: { type: "value", min: 0, max: end },
});

// Triangles at the upper end where a spike is cut off, the highest ones with their values.
function marks(found, end) {
  const named = new Set([...found].sort((a, b) => b[1] - a[1]).slice(0, NAMED));
  return { markPoint: { symbol: "triangle", symbolSize: 9, silent: true,
    data: found.map((at) => ({ coord: [at[0], end], label: { show: named.has(at), formatter: count(Math.round(at[1])), position: "right", distance: 3, color: "inherit" } })) } };
}

const cut = (found, end, unit) =>
  found.length ? `▲ ${found.length === 1 ? "A spike is" : `${count(found.length)} spikes are`} cut off at ${count(end)}${unit}; the highest is ${count(Math.round(Math.max(...found.map((s) => s[1]))))}${unit}. ` : "";

function drawRates(main, drawn, view, points, seconds) {
  const [events, answers] = [of(points, "events"), of(points, "answers")];
  const end = robustEnd([...events, ...answers].map((p) => p[1]));
  const found = end ? [spikes(events, end), spikes(answers, end)] : [[], []];
  drawn.set({ ...ranged(view, seconds, end), series: [line("events", events, marks(found[0], end)), line("recommendations", answers, { lineStyle: { type: "dashed" }, ...marks(found[1], end) })] });
  main.querySelector("#rates-said").textContent = `${cut(found.flat(), end, "")}Times are UTC.`;
}

function drawLate(main, drawn, view, points, seconds) {
  const latencies = of(points, "p95_ms");
  const end = robustEnd(latencies.map((p) => p[1]));
  const found = end ? spikes(latencies, end) : [];
  const any = latencies.some((p) => p[1] !== null);
  const place = main.querySelector("#late");
  if (place.hidden === any) { place.hidden = !any; if (any) drawn.drawn.resize(); }
  drawn.set({ ...ranged(view, seconds, end), series: [line("p95", latencies, { showSymbol: true, symbolSize: 3, connectNulls: false, ...marks(found, end) })] });
  main.querySelector("#late-said").textContent = any ? `${cut(found, end, " ms")}Times are UTC.` : `No recommendation for an event in the last ${RANGES[seconds]}, or since this console started.`;
}

const users = (c) => c.arms.map((a) => `${a.name}: ${percent(a.share)}`).join(", ") || "none";
const made = (b, view) => (b.trained ? `${age(b.trained.created_at, view.time)} old` : "none");
const examples = (b) => (b.trained ? `${count(b.trained.metrics.examples)} examples` : "–");
const ms = (n) => (n === null ? "–" : `${count(Math.round(n))} ms`);
