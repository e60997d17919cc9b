// The bill: what the apprentice occupies beside the model, and what a walk with it costs and brings beside one without.

import { ends, label } from "../stage/text.js";
import { bytes, significant } from "../state/format.js";
import { quantile } from "../state/norms.js";
import { t } from "../ui/messages.js";
import { tokensPerWalk } from "./speculation_cards.js";
import { drafterBytes } from "./speculation_lanes.js";
import { billTop, frame } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {{ name: string, parts: { value: number, color: import("../stage/types.d.ts").ColorName }[], says: string }} Bar */

/** @param {number[]} values */
const middle = (values) => (values.length ? quantile(values, 0.5) : null);

/**
 * Seconds of a plain walk, of one that tastes guesses, and of the guessing, in the middle of all; and what each brings.
 * Null where the runs do not say.
 * @param {State | null} alone
 * @param {State | null} beside
 */
export function costs(alone, beside) {
  const plain = middle(
    (alone?.steps ?? []).flatMap(({ ownPhase, seconds }) => (ownPhase === "decode" && seconds ? [seconds] : [])),
  );
  const drafting = new Map(beside?.speculation.map(({ step, seconds }) => [step, seconds]));
  const tasting = middle(
    (beside?.steps ?? []).flatMap(({ step, seconds }) => {
      const guessing = drafting.get(step);
      return guessing !== undefined && seconds ? [seconds - guessing] : [];
    }),
  );
  const guessing = middle([...drafting.values()]);
  const brings = beside && tokensPerWalk(beside);
  if (!plain || !tasting || guessing === null || !brings) return null;
  return { tasting: tasting / plain, guessing: guessing / plain, brings };
}

/**
 * @param {Context} context
 * @param {State} state
 * @param {{ alone: State | null, beside: State | null }} takes
 * @param {View} view
 * @param {number} alpha
 */
export function drawBill(context, state, { alone, beside }, view, alpha) {
  const { x, width, narrow } = frame(view);
  const top = billTop(view);
  const model = state.opened?.model?.parameter_bytes ?? null;
  const weights = beside && drafterBytes(beside);
  const both = model !== null && weights !== null;
  const gap = 56;
  const half = narrow || !both ? width : (width - gap) / 2;
  context.save();
  context.globalAlpha = alpha;
  if (both)
    drawBars(
      context,
      t("what has to be in memory"),
      [
        { name: t("the model"), parts: [{ value: model, color: "muted" }], says: bytes(model) },
        { name: t("the apprentice"), parts: [{ value: weights, color: "draft" }], says: bytes(weights) },
      ],
      { x, y: top, width: half },
      view,
    );
  const cost = costs(alone, beside);
  if (cost) {
    const { tasting, guessing, brings } = cost;
    const each = (tasting + guessing) / brings;
    drawBars(
      context,
      t("what a walk takes, in plain walks, and what it brings"),
      [
        {
          name: t("chef alone"),
          parts: [{ value: 1, color: "decode" }],
          says: t("{cost} for {brings} token", { cost: 1, brings: 1 }),
        },
        {
          name: t("with the apprentice"),
          parts: [
            { value: guessing, color: "draft" },
            { value: tasting, color: "decode" },
          ],
          says: t("{cost} for {brings} tokens", { cost: significant(tasting + guessing), brings: significant(brings) }),
        },
        {
          name: t("so for each token"),
          parts: [{ value: each, color: each <= 1 ? "accepted" : "rejected" }],
          says: significant(each),
        },
      ],
      { x: !both || narrow ? x : x + half + gap, y: both && narrow ? top + 92 : top, width: half },
      view,
    );
  }
  context.restore();
}

/**
 * @param {Context} context
 * @param {string} title
 * @param {Bar[]} bars
 * @param {{ x: number, y: number, width: number }} box
 * @param {View} view
 */
function drawBars(context, title, bars, { x, y, width }, { palette, width: window }) {
  const { css } = palette;
  const narrow = window < 900;
  const pitch = narrow ? 31 : 52;
  const most = Math.max(...bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0)));
  label(context, title, x, y, { size: narrow ? 11 : 12, color: css.muted, width });
  bars.forEach(({ name, parts, says }, i) => {
    const line = y + (narrow ? 18 : 30) + i * pitch;
    const style = { size: narrow ? 11 : 13, color: css.ink };
    ends(context, [name, says], { x, y: line, width }, [
      { ...style, weight: 600 },
      { ...style, face: "mono" },
    ]);
    let from = x;
    for (const { value, color } of parts) {
      const length = Math.max(1, (width * value) / most);
      context.fillStyle = css[color];
      context.fillRect(from, line + (narrow ? 4 : 8), Math.max(1, length - 1), narrow ? 6 : 10);
      from += length;
    }
  });
}
