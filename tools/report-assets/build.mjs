// Writes ../../perfwright/report/assets from the pinned packages: `npm install --no-package-lock && npm run build`.
// One bundle holds d3-flame-graph and only the parts of d3 that it needs; uPlot is taken as it is published.
import { build } from "esbuild";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const target = new URL("../../perfwright/report/assets/", import.meta.url).pathname;
mkdirSync(target, { recursive: true });

await build({
  stdin: {
    contents: `export { default as flamegraph } from "d3-flame-graph"; export { select } from "d3-selection";`,
    resolveDir: import.meta.dirname,
  },
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "flame",
  legalComments: "none",
  outfile: `${target}flamegraph.min.js`,
});
copyFileSync("node_modules/uplot/dist/uPlot.iife.min.js", `${target}uplot.min.js`);
copyFileSync("node_modules/uplot/dist/uPlot.min.css", `${target}uplot.css`);

const parts = readdirSync("node_modules").filter((name) => name.startsWith("d3-") || ["internmap", "uplot"].includes(name)).sort();
const lines = ["# Vendored assets", "", "Built by `tools/report-assets/build.mjs`; inlined into every HTML report.", "", "| package | version | licence |", "|---|---|---|"];
let licences = "";
for (const name of parts) {
  const about = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  lines.push(`| ${about.name} | ${about.version} | ${about.license} |`);
  const file = readdirSync(`node_modules/${name}`).find((f) => /^licen[cs]e/i.test(f));
  licences += `==== ${about.name} ${about.version} (${about.license})\n\n${file ? readFileSync(`node_modules/${name}/${file}`, "utf8").trim() : "See the package's licence field."}\n\n`;
}
writeFileSync(`${target}README.md`, lines.join("\n") + "\n");
writeFileSync(`${target}LICENSES.txt`, licences);
