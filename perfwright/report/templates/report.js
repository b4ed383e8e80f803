// Draws the pictures of the report from the JSON blocks beside them. No network, no storage.
(function () {
  "use strict";
  const colours = {
    user: "#f2a65a", library: "#e8d174", runtime: "#9ec5e8", native: "#b7a7e0", kernel: "#e89aa8", process: "#cfd6dd", unknown: "#cfd6dd",
  };
  const share = (value, all) => (all > 0 ? ((100 * value) / all).toFixed(value / all < 0.1 ? 2 : 1) + " %" : "");
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const dark = () => window.matchMedia("(prefers-color-scheme: dark)").matches;

  function diffColour(delta, value) {
    const strength = Math.min(1, Math.abs(delta) / Math.max(value, Math.abs(delta), 1e-12));
    if (!delta || strength < 0.02) return "#dfe3e8";
    const light = 88 - 38 * strength;
    return delta > 0 ? `hsl(8 80% ${light}%)` : `hsl(212 75% ${light}%)`;
  }

  function place(d) {
    return d.f ? `${d.name} — ${d.f}${d.l ? ":" + d.l : ""}` : d.name;
  }

  function drawFlame(box) {
    const root = data(box.dataset.source), diff = box.dataset.diff === "true";
    const note = box.parentElement.querySelector(".frame-note");
    const all = root.value;
    const describe = (d) => {
      const change = diff ? `, change ${d.delta > 0 ? "+" : ""}${share(d.delta || 0, all)} of all samples` : "";
      return `${place(d)} — ${share(d.value, all)}${change}`;
    };
    const chart = flame.flamegraph()
      .width(Math.max(280, box.clientWidth - 2)).cellHeight(18).minFrameSize(0.5).transitionDuration(150).sort(true).title("")
      .getName((node) => node.data.name)
      .getLibtype(() => "")
      .setColorMapper((node) => (node.highlight ? "#e600e6" : diff ? diffColour(node.data.delta || 0, node.data.value) : colours[node.data.o] || colours.unknown))
      .setLabelHandler((node) => describe(node.data))
      .setSearchMatch((node, term) => place(node.data).toLowerCase().includes(term.toLowerCase()))
      .onHover((node) => { note.textContent = describe(node.data); })
      .onClick((node) => { note.textContent = describe(node.data); });
    chart.inverted(true);
    flame.select(box).datum(root).call(chart);
    const tools = box.parentElement.querySelector(".tools");
    tools.querySelector("input").addEventListener("input", (event) => (event.target.value ? chart.search(event.target.value) : chart.clear()));
    tools.querySelector("button").addEventListener("click", () => { chart.resetZoom(); tools.querySelector("input").value = ""; chart.clear(); });
    let width = box.clientWidth;
    window.addEventListener("resize", () => {
      if (box.clientWidth === width) return;
      width = box.clientWidth;
      chart.width(Math.max(280, width - 2));
      chart.update();
    });
  }

  function drawSeries(box) {
    const source = data(box.dataset.source), marks = JSON.parse(box.dataset.marks || "[]");
    const palette = dark() ? ["#6fb3ff", "#f2a65a", "#8f9baa", "#58c98d"] : ["#0b5fb0", "#c2660c", "#8a95a3", "#1a7f4b"];
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
    const grid = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid } };
    const drawMarks = (u) => {
      for (const mark of marks) {
        const x = u.valToPos(mark.at_s, "x", true), end = mark.until_s == null ? x + 1 : u.valToPos(mark.until_s, "x", true);
        u.ctx.fillStyle = mark.gap ? "rgba(160,160,160,.35)" : "rgba(200,60,60,.6)";
        u.ctx.fillRect(x, u.bbox.top, Math.max(1, end - x), u.bbox.height);
        u.ctx.fillStyle = ink;
        u.ctx.fillText(mark.label, x + 4, u.bbox.top + 12 * devicePixelRatio);
      }
    };
    const plot = new uPlot({
      width: box.clientWidth, height: 220, hooks: { draw: [drawMarks] },
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(high * 1.05, 0.01)] } },
      axes: [{ ...axis, values: (u, ticks) => ticks.map((t) => t + " s") }, { ...axis, size: 56 }],
      series: [{ label: "time", value: (u, v) => (v == null ? "" : v.toFixed(1) + " s") }].concat(source.series.map((line, i) => ({
        label: `${line.label} (${line.unit})`, stroke: palette[i % palette.length], width: 1.6, spanGaps: false,
        value: (u, v) => (v == null ? "" : v.toFixed(3)),
      }))),
    }, [source.t_s].concat(source.series.map((line) => line.values)), box);
    window.addEventListener("resize", () => plot.setSize({ width: box.clientWidth, height: 220 }));
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      (entry.target.classList.contains("flame") ? drawFlame : drawSeries)(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const box of document.querySelectorAll(".flame, .series")) seen.observe(box);
  window.addEventListener("beforeprint", () => {
    for (const box of document.querySelectorAll(".flame:empty, .series:empty")) {
      seen.unobserve(box);
      (box.classList.contains("flame") ? drawFlame : drawSeries)(box);
    }
  });
})();
