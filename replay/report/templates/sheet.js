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

  function embedded(element, name, colours) {
    return vegaEmbed(element, specification(charts[name]), {
      config: themes[colours],
      ast: true,
      renderer: "canvas",
      mode: "vega-lite",
      actions: false,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true, theme: "page" },
    });
  }

  // Paper is light: a dark chart has a light one behind it, which follows what is chosen in it.
  async function onPaper(element, name, shown) {
    const paper = document.createElement("div");
    paper.className = "chart paper";
    paper.setAttribute("aria-hidden", "true");
    paper.inert = true;
    element.after(paper);
    const { view } = await embedded(paper, name, "light");
    for (const { name: signal, bind } of charts[name].params ?? []) {
      if (bind && bind !== "legend") shown.addSignalListener(signal, (_, value) => view.signal(signal, value).runAsync());
    }
  }

  // Dragging over a chart that has sliders for a stretch of time chooses one; a double click shows all again.
  function zoomable(element, view) {
    const canvas = element.querySelector("canvas");
    const told = view.getState({ signals: (name) => name === "start" || name === "length" }).signals;
    if (!canvas || told.start === undefined || told.length === undefined) return;
    const whole = told.length;
    const show = (start, length) => view.signal("start", start).signal("length", length).runAsync();
    const time = (event) => {
      const x = event.clientX - canvas.getBoundingClientRect().left - view.origin()[0];
      const share = Math.min(Math.max(x / view.width(), 0), 1);
      return view.signal("start") + share * Math.min(view.signal("length"), whole - view.signal("start"));
    };
    let from = null;
    canvas.addEventListener("pointerdown", (event) => { from = event.pointerType === "mouse" ? time(event) : null; });
    canvas.addEventListener("pointerup", (event) => {
      const to = time(event);
      if (from !== null && Math.abs(to - from) > view.signal("length") / 100) show(Math.min(from, to), Math.abs(to - from));
      from = null;
    });
    canvas.addEventListener("dblclick", () => show(0, whole));
  }

  async function draw() {
    const mine = ++round;
    root.dataset.drawn = "";
    document.querySelectorAll(".chart.paper").forEach((each) => each.remove());
    for (const element of document.querySelectorAll("[data-chart]")) {
      const name = element.dataset.chart;
      const result = await embedded(element, name, theme());
      if (mine !== round) return;
      drawn.get(name)?.finalize();
      drawn.set(name, result);
      zoomable(element, result.view);
      if (theme() === "dark") await onPaper(element, name, result.view);
      if (mine !== round) return;
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
