"use strict";
// Compares the price lists that suppliers send, one every 60 ms: node prices.js SECONDS

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

function summary(rows) {
  const sorted = rows.map((row) => row.cents).sort((one, other) => one - other);
  return { articles: rows.length, median: sorted[sorted.length >> 1] };
}

function main() {
  const seconds = Number(process.argv[2]);
  const problems = (process.env.LAB_PROBLEMS ?? "all").split(",").map((name) => name.trim());
  const cheapest = problems.includes("all") || problems.includes("node-prices") ? cheapestByScan : cheapestByKey;
  const timer = setInterval(() => {
    summary(cheapest(JSON.parse(nextList())));
    if (Number(process.hrtime.bigint() - STARTED) / 1e9 >= seconds) {
      clearInterval(timer);
    }
  }, PERIOD_MS);
  console.log("ready");
}

if (require.main === module) {
  main();
}

module.exports = { cheapestByScan, cheapestByKey };
