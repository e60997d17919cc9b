// What the browser makes of logits, for tests that compare it with the engine: `node reshape.js LOGITS CASES OUT`.
// LOGITS: float32 of the whole vocabulary. CASES: JSON, a list of { settings, seen }. OUT gets the probability of every
// token in the vocabulary's order, float64, case after case.

import { readFileSync, writeFileSync } from "node:fs";
import { reshape } from "../../static/js/state/sampling.js";

const [logitsPath, casesPath, outPath] = process.argv.slice(2);
const bytes = readFileSync(logitsPath);
const logits = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const cases = JSON.parse(readFileSync(casesPath, "utf8"));
const all = new Float64Array(cases.length * logits.length);
cases.forEach(({ settings, seen }, i) => {
  const { ids, mass } = reshape(logits, settings, seen);
  mass.forEach((part, k) => {
    all[i * logits.length + ids[k]] = part;
  });
});
writeFileSync(outPath, new Uint8Array(all.buffer));
