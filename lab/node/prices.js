"use strict";
// Compares the price lists that suppliers send, one every 60 ms or TIMES as often: node prices.js SECONDS [TIMES]

const PERIOD_MS = 60;
const ROWS = 6000;
const ARTICLES = 5000;
const STARTED = process.hrtime.bigint();

let state = 1;
function chance(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state % limit;
}

function nextList() {
  const rows = [];
  for (let row = 0; row < ROWS; row++) {
    rows.push({ article: `ART-${100000 + chance(ARTICLES)}`, cents: 100 + chance(20000), currency: "EUR" });
  }
  return JSON.stringify(rows);
}

function cheapestByScan(rows) {
  const cheapest = [];
  for (const row of rows) {
    const known = cheapest.find((other) => other.article === row.article); // planted: node-prices
    if (!known) {
      cheapest.push({ ...row });
    } else if (row.cents < known.cents) {
      known.cents = row.cents;
    }
  }
  return cheapest;
}

function cheapestByKey(rows) {
  const cheapest = new Map();
  for (const row of rows) {
    const known = cheapest.get(row.article);
    if (!known) {
      cheapest.set(row.article, { ...row });
    } else if (row.cents < known.cents) {
      known.cents = row.cents;
    }
  }
  return [...cheapest.values()];
}

function offers(rows) {
  return rows.filter((row) => /^ART-\d{6}$/.test(row.article) && row.cents > 0 && row.currency === "EUR");
}

function cheapestFirst(rows) {
  return [...rows].sort((one, other) => one.cents - other.cents || (one.article < other.article ? -1 : 1));
}

function table(rows) {
  return rows.map((row) => `${row.article.padEnd(12)}${(row.cents / 100).toFixed(2).padStart(9)} ${row.currency}`).join("\n");
}

function main() {
  const seconds = Number(process.argv[2]);
  const problems = (process.env.LAB_PROBLEMS ?? "all").split(",").map((name) => name.trim());
  const cheapest = problems.includes("all") || problems.includes("node-prices") ? cheapestByScan : cheapestByKey;
  let written = 0;
  const timer = setInterval(() => {
    const rows = JSON.parse(nextList());
    written += table(cheapestFirst(cheapest(offers(rows)))).length;
    if (Number(process.hrtime.bigint() - STARTED) / 1e9 >= seconds) {
      clearInterval(timer);
      process.exitCode = written > 0 ? 0 : 1;
    }
  }, PERIOD_MS / Number(process.argv[3] ?? 1));
  console.log("ready");
}

if (require.main === module) {
  main();
}

module.exports = { cheapestByScan, cheapestByKey };
