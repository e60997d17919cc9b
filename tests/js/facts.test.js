import assert from "node:assert/strict";
import { test } from "node:test";
import { facts as attention } from "../../static/js/scenes/attention_facts.js";
import { measure } from "../../static/js/scenes/step_shapes.js";
import { apply } from "../../static/js/state/apply.js";
import { placesSeen } from "../../static/js/state/attention.js";
import { createState } from "../../static/js/state/create.js";
import { factOf, measured, set } from "../../static/js/state/fact.js";
import { facts } from "../../static/js/state/facts.js";

const OWN = "me";
const own = (/** @type {object} */ event) => ({ request_id: OWN, sample: 0, ...event });
const opened = (/** @type {object} */ more = {}) => ({
  type: "log.opened",
  run_id: OWN,
  source: "live",
  opened_at: 0,
  provides: [],
  params: {},
  ...more,
});

/** A state after events that lie a second apart, but where they say when. */
function played(/** @type {any[]} */ events) {
  const state = createState();
  for (const [i, event] of events.entries()) apply(state, /** @type {any} */ ({ seq: i + 1, t: i, ...event }));
  return state;
}

let steps = 0;
/** A step of this run, and the tokens that it brings. */
function step(
  /** @type {string} */ phase,
  /** @type {[number, number]} */ [start, stop],
  at = 0,
  /** @type {number[]} */ brought = [],
) {
  const number = steps++;
  return [
    {
      type: "step.started",
      step: number,
      phase,
      requests: [own({ slot: 0, phase, start, stop })],
      num_tokens: stop - start,
      t: at - 1,
    },
    ...brought.map((position, i) =>
      own({
        type: "token.sampled",
        position,
        id: 1,
        text: "a",
        logprob: 0,
        candidates: [],
        rest: 0,
        origin: "target",
        step: number,
        t: at + i * 1e-5,
      }),
    ),
    { type: "step.finished", step: number, seconds: 1, weight_bytes: 10, t: at },
  ];
}
const tokenized = own({
  type: "request.tokenized",
  token_ids: [5, 6, 7],
  pieces: ["a", "b", "c"],
  own: [[0, 3]],
  seconds: 0,
});

test("tokens that one step brought come together and have one gap", () => {
  const state = played([
    opened(),
    tokenized,
    ...step("prefill", [0, 3], 10, [3]),
    ...step("verify", [3, 8], 12, [4, 5, 6]),
    ...step("verify", [6, 11], 15, [7]),
  ]);
  assert.deepEqual(state.interTokenSeconds, [2, 3]);
  assert.equal(facts(state, "itl.p99")?.value, 2.99);
  assert.equal(facts(state, "itl.together")?.value, 2);
  const plain = played([opened(), tokenized, ...step("prefill", [0, 3], 10, [3]), ...step("decode", [3, 4], 12, [4])]);
  assert.equal(facts(plain, "itl.together"), null);
});

test("what is computed again after a preemption is counted apart", () => {
  const state = played([
    opened(),
    tokenized,
    ...step("prefill", [0, 2], 1),
    ...step("prefill", [2, 3], 2, [3]),
    ...step("decode", [3, 4], 3, [4]),
    own({ type: "request.preempted", slot: 0, num_computed_tokens: 4 }),
    ...step("prefill", [0, 4], 6),
    ...step("prefill", [4, 5], 7, [5]),
  ]);
  const say = (/** @type {string} */ key) => facts(state, key)?.value;
  assert.deepEqual([say("prefill.tokens"), say("prefill.seconds"), say("prefill.steps")], [3, 2, 2]);
  assert.deepEqual([say("again.tokens"), say("again.seconds")], [4, 2]);
  assert.equal(measure(state).prefill.tokens, 3);
});

test("a window hides what lies before it, in the layers that have it", () => {
  const card = (/** @type {object} */ more) => /** @type {any} */ ({ num_layers: 4, ...more });
  assert.equal(placesSeen(card({ sliding_window: null, num_sliding_layers: 0 }), 0, 99), 100);
  assert.equal(placesSeen(card({ sliding_window: 10, num_sliding_layers: 4 }), 3, 99), 10);
  assert.equal(placesSeen(card({ sliding_window: 10, num_sliding_layers: 4 }), 3, 4), 5);
  const some = card({ sliding_window: 10, num_sliding_layers: 2, sliding_layers: [0, 2] });
  assert.deepEqual(
    [0, 1].map((layer) => placesSeen(some, layer, 99)),
    [10, 100],
  );
  assert.equal(placesSeen(card({ sliding_window: 10, num_sliding_layers: 2 }), 0, 99), null, "which is not told");

  const said = (/** @type {object} */ model, /** @type {string} */ key) => {
    const state = played([opened({ model: card(model) })]);
    state.cache.numTokens = 100;
    return factOf(attention[`attention.${key}`], state)?.value ?? null;
  };
  assert.equal(said({}, "looks"), 5050);
  assert.equal(said({ sliding_window: 10, num_sliding_layers: 2 }, "looks"), 5050);
  assert.equal(said({ sliding_window: 10, num_sliding_layers: 4 }, "looks"), 55 + 90 * 10);
  assert.deepEqual([said({}, "window"), said({}, "unbounded"), said({}, "whole")], [null, 1, 1]);
  const all = { sliding_window: 10, num_sliding_layers: 4, attention_sinks: true };
  assert.deepEqual(
    ["window", "windowLayers", "unbounded", "sinks", "whole"].map((key) => said(all, key)),
    [10, 4, null, 1, null],
  );
});

test("a setting is no measurement, and a badge is that of the log that the number was read from", () => {
  const [live, recorded] = [played([opened()]), played([opened({ source: "recorded" })])];
  const size = set(() => 16, String, "");
  assert.equal(factOf(size, live)?.provenance, "set");
  assert.equal(factOf(size, recorded)?.provenance, "recorded");
  const runs = { own: live, at: { gaze: recorded }, ended: () => undefined };
  const share = measured(
    () => 0.5,
    String,
    "",
    (_, { at }) => at.gaze,
  );
  assert.equal(factOf(share, live, runs)?.provenance, "recorded");
  assert.equal(
    factOf(
      measured(() => 0.5, String, ""),
      live,
      runs,
    )?.provenance,
    "measured",
  );
});
