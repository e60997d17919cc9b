// Prints the state hash of each log named on the command line (JSON Lines), one a line: the browser's own fold, for
// tests that compare what many readers of one run ended with.

import { readFileSync } from "node:fs";
import { apply } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { stateHash } from "../../static/js/state/hash.js";

for (const path of process.argv.slice(2)) {
  const state = createState();
  for (const line of readFileSync(path, "utf8").trimEnd().split("\n")) apply(state, JSON.parse(line));
  console.log(stateHash(state));
}
