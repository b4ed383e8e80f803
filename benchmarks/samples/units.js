// Units of work until the time is over, counted in a file: `units.js FILE SECONDS`. Every unit lets the event loop turn, as a server does.
const fs = require("node:fs");

const [path, seconds] = process.argv.slice(2);
const file = fs.openSync(path, "w");
const shown = Buffer.alloc(8);
const over = Date.now() + Number(seconds) * 1000;
let units = 0n;
let kept = 0;

function checksum(rounds) {
  let state = 1;
  for (let number = 0; number < rounds; number++) state = (state * 31 + number) % 65521;
  return state;
}

function turn() {
  kept += checksum(200000);
  shown.writeBigUInt64LE(++units);
  fs.writeSync(file, shown, 0, 8, 0);
  if (Date.now() < over) setImmediate(turn);
}

fs.writeSync(file, shown, 0, 8, 0);
console.log("ready");
setImmediate(turn);
