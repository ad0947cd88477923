import { ask } from "../api.js";
import { colour, SHAPES, chart } from "../charts.js";
import { count, html, itemHash, itemLink, put, short } from "../html.js";

const SHOWN_MATCHES = 30;
// Groups with a colour of their own; further ones share the last.
const GROUPS = 7;
const DAY = 86400000;
const AGES = [[7, "up to 7 days old"], [30, "8 to 30 days old"], [365, "31 days to a year old"], [Infinity, "over a year old"]];

// A map of the item vectors; wheel and pinch zoom, the search marks what it finds.
export async function space(main) {
  const { map, now } = await ask("console/space");
  const groupings = {
    type: (n) => map.types[map.type[n]],
    genre: (n) => map.genre[n] ?? "no genre",
    age: (n) => (map.published_at[n] === null ? "age unknown" : AGES.find(([days]) => (now - map.published_at[n]) / DAY <= days)[1]),
  };
  put(main, html`<h1>Item space</h1>
    <p class="soft">${count(map.x.length)} of ${count(map.items)} items of generation ${map.generation}, on their two principal components; they show ${(100 * map.shown_variance).toFixed(0)} % of the variance. Items close on this map can be far apart in the model; items far apart on the map are far apart in the model.</p>
    <form class="search" role="search"><label>Find in titles <input name="q" autocomplete="off"></label>
      <label>Colour by <select name="by"><option value="type">item type</option><option value="genre">genre (the first)</option><option value="age">age</option></select></label></form>
    <div class="chart tall" id="map" role="img" aria-label="Map of the items" aria-describedby="groups"></div>
    <p class="soft" id="groups"></p>
    <ul id="matches"></ul>`);
  const marked = { name: "marked", type: "scatter", symbolSize: 16, itemStyle: { color: "transparent", borderColor: "#d55e00", borderWidth: 3 }, data: [], z: 9 };
  const plain = { type: "value", scale: true, axisLabel: { show: false }, axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false } };
  const drawn = chart(main.querySelector("#map"), { xAxis: plain, yAxis: plain, series: [] });
  const form = main.querySelector("form");

  const draw = () => {
    const groups = grouped(map.x.length, groupings[form.elements.by.value], form.elements.by.value === "age" ? AGES.map(([, name]) => name) : null);
    const series = groups.map(([name, rows], n) => ({
      name: short(name), type: "scatter", symbol: SHAPES[n % 8], symbolSize: 6, itemStyle: { color: colour(n), opacity: 0.65 }, data: rows.map((row) => [map.x[row], map.y[row], row]),
    }));
    drawn.drawn.clear();
    drawn.set({
      tooltip: { trigger: "item", formatter: (p) => echarts.format.encodeHTML(`${short(map.title[p.data[2]], 80)}, ${short(groupings[form.elements.by.value](p.data[2]))}`) },
      legend: { data: series.map(({ name }) => name) },
      dataZoom: [{ type: "inside", xAxisIndex: 0 }, { type: "inside", yAxisIndex: 0 }],
      xAxis: plain, yAxis: plain, series: [...series, marked],
    });
    main.querySelector("#groups").textContent = groups.map(([name, rows]) => `${name}: ${count(rows.length)}`).join("; ");
  };
  const search = () => {
    const wanted = form.elements.q.value.trim().toLowerCase();
    const found = wanted ? map.title.flatMap((title, n) => (title.toLowerCase().includes(wanted) ? [n] : [])) : [];
    marked.data = found.map((n) => [map.x[n], map.y[n], n]);
    draw();
    put(main.querySelector("#matches"), html`${wanted && !found.length && html`<li>No title contains this text.</li>`}
      ${found.slice(0, SHOWN_MATCHES).map((n) => html`<li>${itemLink({ item_type: map.types[map.type[n]], item_id: map.id[n], title: map.title[n] })} <span class="tag">${map.types[map.type[n]]}</span></li>`)}
      ${found.length > SHOWN_MATCHES && html`<li>and ${count(found.length - SHOWN_MATCHES)} more</li>`}`);
  };
  form.onsubmit = (event) => event.preventDefault();
  form.elements.q.oninput = search;
  form.elements.by.onchange = draw;
  drawn.drawn.on("click", (p) => { const n = p.data[2]; location.hash = itemHash(map.types[map.type[n]], map.id[n]); });
  draw();
  return drawn.close;
}

// Rows by group: the largest groups first, or in a given order; what is over stands under "others".
function grouped(rows, nameOf, order) {
  const groups = new Map();
  for (let row = 0; row < rows; row++) {
    const name = nameOf(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const all = [...groups].sort(([a, x], [b, y]) => (order ? rank(a) - rank(b) : y.length - x.length || (a < b ? -1 : 1)));
  return all.length <= GROUPS + 1 ? all : [...all.slice(0, GROUPS), ["others", all.slice(GROUPS).flatMap(([, found]) => found)]];
}
