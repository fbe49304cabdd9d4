// node check.cjs HDR_EXCHANGE: hdr-histogram-js and our histogram read each other's text, and find
// the same counts and percentiles in it. NODE_PATH names where the package is.
const { spawnSync } = require("node:child_process");
const hdr = require("hdr-histogram-js");

const percents = [0, 10, 50, 90, 99, 99.9, 99.99, 100];
const highest = 3600000000000;

// A small generator of our own (mulberry32): the same values in every run.
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const figures = (h) => [h.totalCount, ...percents.map((p) => h.getValueAtPercentile(p))].join(" ");

const input = [];
const theirs = [];
for (let seed = 1; seed <= 40; ++seed) {
  const random = generator(seed);
  const histogram = hdr.build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: highest,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 64,
  });
  const count = seed === 1 ? 0 : Math.ceil(random() * 2000);
  for (let i = 0; i < count; ++i) {
    const value = Math.floor(random() * 10 ** Math.floor(random() * 13));
    const times = random() < 0.1 ? Math.floor(random() * 1e9) + 1 : 1;
    histogram.recordValueWithCount(value, times);
    input.push(`record ${value} ${times}`);
  }
  input.push("encode", `decode ${hdr.encodeIntoCompressedBase64(histogram)}`);
  theirs.push(histogram);
}

const run = spawnSync(process.argv[2], { input: input.join("\n"), encoding: "utf8" });
const lines = run.stdout.trim().split("\n");
if (run.status !== 0 || lines.length !== 2 * theirs.length) {
  console.log(`hdr_exchange failed: ${run.status} ${run.stderr}`);
  process.exit(1);
}

let wrong = 0;
function compare(what, found, expected) {
  if (found === expected) return;
  ++wrong;
  console.log(`${what}\n  ours   ${found}\n  theirs ${expected}`);
}

theirs.forEach((histogram, i) => {
  const [text, ...ours] = lines[2 * i].split(" ");
  // Ours never says more than was recorded; theirs gives the end of the last place.
  const cap = (line) => line.split(" ").map((v, at) =>
    at > 0 && Number(v) >= Number(ours.at(-1)) ? ours.at(-1) : v).join(" ");
  compare(`${i}: recorded by both`, ours.join(" "), cap(figures(histogram)));
  const read = hdr.decodeFromCompressedBase64(text, 64);
  compare(`${i}: they read ours`, figures(read), figures(histogram));
  compare(`${i}: we read theirs`, lines[2 * i + 1], figures(histogram));
});
console.log(`report: hdr-histogram-js: ${theirs.length} histograms, ${wrong} differences`);
process.exit(wrong === 0 ? 0 : 1);
