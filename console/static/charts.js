// Charts by ECharts. Colours are Okabe and Ito's, told apart without colour vision; shapes differ too.
export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7a7a7a"];
export const SHAPES = ["circle", "diamond", "triangle", "rect", "pin", "roundRect", "arrow", "circle"];

export function chart(place, option) {
  const css = getComputedStyle(document.documentElement);
  const [text, line, card] = ["--text", "--line", "--card"].map((name) => css.getPropertyValue(name).trim());
  const drawn = echarts.init(place, null, { renderer: "canvas" });
  const axis = { axisLabel: { color: text, hideOverlap: true }, axisLine: { lineStyle: { color: text } }, splitLine: { lineStyle: { color: line } }, nameTextStyle: { color: text } };
  const set = (more) =>
    drawn.setOption({
      animation: false, color: COLOURS, textStyle: { color: text },
      grid: { left: 8, right: 16, top: 36, bottom: 8, containLabel: true },
      ...more,
      tooltip: { trigger: "axis", backgroundColor: card, textStyle: { color: text }, confine: true, ...more.tooltip },
      legend: { textStyle: { color: text }, type: "scroll", top: 0, ...more.legend },
      xAxis: { ...axis, ...more.xAxis }, yAxis: { ...axis, ...more.yAxis },
    });
  set(option);
  const resize = () => drawn.resize();
  addEventListener("resize", resize);
  return { set, drawn, close: () => { removeEventListener("resize", resize); drawn.dispose(); } };
}

export const line = (name, data, more = {}) => ({ name, type: "line", showSymbol: false, data, ...more });
