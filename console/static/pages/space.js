import { ask } from "../api.js";
import { colour, SHAPES, chart } from "../charts.js";
import { count, html, itemHash, itemLink, put, short } from "../html.js";

const SHOWN_MATCHES = 30;

// A map of the item vectors; wheel and pinch zoom, the search marks what it finds.
export async function space(main) {
  const map = await ask("console/space");
  put(main, html`<h1>Item space</h1>
    <p class="soft">${count(map.x.length)} of ${count(map.items)} items of generation ${map.generation}, on their two principal components; they show ${(100 * map.shown_variance).toFixed(0)} % of the variance. Items that are near on this map can still be far apart; items that are far apart on it are far apart.</p>
    <form class="search" role="search"><label>Find in titles <input name="q" autocomplete="off"></label></form>
    <div class="chart tall" id="map" role="img" aria-label="Map of the items, coloured by type"></div>
    <ul id="matches"></ul>`);
  const series = map.types.map((type, n) => ({
    name: type, type: "scatter", symbol: SHAPES[n % 8], symbolSize: 6, itemStyle: { color: colour(n), opacity: 0.65 }, data: [],
  }));
  map.x.forEach((x, n) => series[map.type[n]].data.push([x, map.y[n], n]));
  const marked = { name: "marked", type: "scatter", symbolSize: 16, itemStyle: { color: "transparent", borderColor: "#d55e00", borderWidth: 3 }, data: [], z: 9 };
  const plain = { type: "value", scale: true, axisLabel: { show: false } };
  const option = {
    tooltip: { trigger: "item", formatter: (p) => echarts.format.encodeHTML(short(map.title[p.data[2]], 80)) },
    dataZoom: [{ type: "inside", xAxisIndex: 0 }, { type: "inside", yAxisIndex: 0 }],
    xAxis: plain, yAxis: plain, series: [...series, marked],
  };
  const drawn = chart(main.querySelector("#map"), option);
  drawn.drawn.on("click", (p) => { const n = p.data[2]; location.hash = itemHash(map.types[map.type[n]], map.id[n]); });
  const form = main.querySelector("form");
  form.onsubmit = (event) => event.preventDefault();
  form.elements.q.oninput = (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    const found = wanted ? map.title.flatMap((title, n) => (title.toLowerCase().includes(wanted) ? [n] : [])) : [];
    marked.data = found.map((n) => [map.x[n], map.y[n], n]);
    drawn.drawn.setOption({ series: [...series.map(({ name }) => ({ name })), { ...marked }] });
    put(main.querySelector("#matches"), html`${wanted && !found.length && html`<li>No title contains this text.</li>`}
      ${found.slice(0, SHOWN_MATCHES).map((n) => html`<li>${itemLink({ item_type: map.types[map.type[n]], item_id: map.id[n], title: map.title[n] })} <span class="tag">${map.types[map.type[n]]}</span></li>`)}
      ${found.length > SHOWN_MATCHES && html`<li>and ${count(found.length - SHOWN_MATCHES)} more</li>`}`);
  };
  return drawn.close;
}
