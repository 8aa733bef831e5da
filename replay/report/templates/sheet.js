"use strict";
// Draws the charts in the page's colours; the button changes them. Nothing is fetched.
(() => {
  const { charts, themes } = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const button = document.getElementById("toggle");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();
  let round = 0;

  // Rows of a CSV as Vega would read them. Its own reader compiles code, which this page forbids.
  function rows(text, kinds) {
    const [head, ...lines] = text.trim().split("\n").map(cells);
    return lines.map((line) => Object.fromEntries(head.map((name, k) => [name, value(line[k], kinds?.[name])])));
  }

  function cells(line) {
    const found = line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g);
    return Array.from(found, ([, quoted, bare]) => (quoted === undefined ? bare : quoted.replaceAll('""', '"')));
  }

  function value(text, kind) {
    if (text === undefined || text === "") return null;
    const number = Number(text);
    return kind === "string" || Number.isNaN(number) ? text : number;
  }

  // The specification with the rows of its CSV texts in their place, wherever they are in it.
  function parsed(spec, sets = {}) {
    if (Array.isArray(spec)) return spec.map((each) => parsed(each, sets));
    if (spec === null || typeof spec !== "object") return spec;
    if (spec.format?.type === "csv") {
      const { format, ...data } = spec;
      if (typeof data.values === "string") return { ...data, values: rows(data.values, format.parse) };
      if (typeof sets[data.name] === "string") sets[data.name] = rows(sets[data.name], format.parse);
      return data;
    }
    return Object.fromEntries(Object.entries(spec).map(([key, each]) => [key, parsed(each, sets)]));
  }

  function specification(chart) {
    const { datasets = {}, ...rest } = chart;
    const sets = { ...datasets };
    return { ...parsed(rest, sets), datasets: sets };
  }

  function theme() {
    return root.dataset.theme;
  }

  async function draw() {
    const mine = ++round;
    root.dataset.drawn = "";
    for (const element of document.querySelectorAll("[data-chart]")) {
      const name = element.dataset.chart;
      const result = await vegaEmbed(element, specification(charts[name]), {
        config: themes[theme()],
        ast: true,
        renderer: "canvas",
        mode: "vega-lite",
        actions: false,
        defaultStyle: false,
        tooltip: { disableDefaultStyle: true, theme: "page" },
      });
      if (mine !== round) return;
      drawn.get(name)?.finalize();
      drawn.set(name, result);
    }
    root.dataset.drawn = theme();
  }

  function look(name) {
    root.dataset.theme = name;
    const dark = name === "dark";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page in ${dark ? "light" : "dark"} colours`);
    if (Object.keys(charts).length) draw();
    else root.dataset.drawn = name;
  }

  button.hidden = false;
  button.removeAttribute("aria-pressed");
  button.addEventListener("click", () => look(theme() === "dark" ? "light" : "dark"));
  prefersDark.addEventListener("change", () => look(prefersDark.matches ? "dark" : "light"));
  look(prefersDark.matches ? "dark" : "light");
})();
