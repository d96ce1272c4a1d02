/** A short run of the fuzzer. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fuzz } from "./fuzz.js";

test("mutated files are refused with a VQCError, or decoded", async () => {
  const { refused, decoded } = await fuzz(1500, 3);
  assert.equal(refused + decoded, 1500);
  assert.ok(refused > 1000 && decoded > 0);
});
