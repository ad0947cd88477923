import { html } from "./html.js";
// Charts by ECharts. Colours are Okabe and Ito's, told apart without colour vision; shapes differ too.
const ON_LIGHT = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7a7a7a"];
// On a dark ground the blue is hard to see, and changes places with the lighter one.
const ON_DARK = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#2b8ccc", "#d55e00", "#b0a030", "#9a9a9a"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = () => (dark.matches ? ON_DARK : ON_LIGHT);
export const colour = (n) => colours()[n % 8];
export const SHAPES = ["circle", "diamond", "triangle", "rect", "pin", "roundRect", "arrow", "circle"];

export function chart(place, option) {
  const css = getComputedStyle(document.documentElement);
  const [text, line, card] = ["--text", "--line", "--card"].map((name) => css.getPropertyValue(name).trim());
  const drawn = echarts.init(place, null, { renderer: "canvas" });
  const axis = { axisLabel: { color: text, hideOverlap: true }, axisLine: { lineStyle: { color: text } }, splitLine: { lineStyle: { color: line } }, nameTextStyle: { color: text } };
  // Days say their month, and hours their day: the first label of a month or day is often left out.
  const time = { formatter: { month: "{d} {MMM}", day: "{d} {MMM}", hour: "{HH}:{mm}\n{d} {MMM}" } };
  const on = (own) => ({ ...axis, ...own, axisLabel: { ...axis.axisLabel, ...(own?.type === "time" && time), ...own?.axisLabel } });
  const set = (more) =>
    drawn.setOption({
      animation: false, color: colours(), useUTC: true, textStyle: { color: text },
      grid: { left: 8, right: 16, top: more.series.length > 1 ? 36 : 16, bottom: 8, containLabel: true },
      ...more,
      tooltip: { trigger: "axis", backgroundColor: card, textStyle: { color: text }, confine: true, ...more.tooltip },
      legend: { show: more.series.length > 1, textStyle: { color: text }, type: "scroll", top: 0, ...more.legend },
      xAxis: on(more.xAxis), yAxis: on(more.yAxis),
    });
  set(option);
  const resize = () => drawn.resize();
  addEventListener("resize", resize);
  return { set, drawn, close: () => { removeEventListener("resize", resize); drawn.dispose(); } };
}

export const line = (name, data, more = {}) => ({ name, type: "line", showSymbol: false, data, ...more });

// A line without axes beside its figure, cut at `end`; decoration, for the figure says it in words.
export function sparkline(values, end) {
  const top = end ?? Math.max(1e-9, ...values.filter((v) => v !== null));
  const at = (v, n) => `${((100 * n) / Math.max(1, values.length - 1)).toFixed(1)},${(29 - (28 * Math.min(v, top)) / top).toFixed(1)}`;
  const runs = values.reduce((all, v, n) => { v === null ? all.push([]) : all.at(-1).push(at(v, n)); return all; }, [[]]).filter((run) => run.length);
  return html`<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">${runs.map((run) => html`<polyline points="${(run.length > 1 ? run : [run[0], run[0]]).join(" ")}"/>`)}</svg>`;
}
