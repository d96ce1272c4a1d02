/**
 * Which weights files are refused: `node browser/test/weights.js FOLDER` prints for every file a line with its name, and the name and
 * message of the error, or "loaded". `tests/browser/test_node.py` gives it the hostile ones of `tests/fuzz/weights.py`.
 */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { readModel } from "../src/weights.js";

const folder = process.argv[2];
for (const name of readdirSync(folder).sort()) {
  const begun = process.cpuUsage();
  const outcome = await readModel(new Uint8Array(readFileSync(join(folder, name)))).then(
    () => "loaded",
    (error) => `${error.name}: ${error.message}`,
  );
  const { user, system } = process.cpuUsage(begun);
  console.log(JSON.stringify({ name, outcome, seconds: (user + system) / 1e6 }));
}
