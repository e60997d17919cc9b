// The room of attention in words: what is under the pointer, one sentence, and the look as rows.

import { visible } from "../stage/text.js";
import { argmax, brought, sharesOf } from "../state/attention.js";
import { percent } from "../state/format.js";
import { t } from "../ui/messages.js";
import { headAt } from "./attention_map.js";
import { wordAt, wordOn } from "./attention_page.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./attention_picture.js").Picture} Picture */
/** @typedef {import("../stage/types.d.ts").Hit} Hit */

/** @param {Picture} picture @param {number} i */
const quoted = ({ look }, i) => (i in look.tokens ? wordOn(look.tokens[i]).word : "");

/** @param {Picture} picture */
const headWords = ({ head, heads }) =>
  head
    ? t("layer {layer}, head {head}", { layer: head.layer + 1, head: head.head + 1 })
    : t("the mean of {count} heads", { count: heads });

/**
 * @param {Picture} picture
 * @param {number} x
 * @param {number} y
 * @returns {Hit | null}
 */
export function hitIn(picture, x, y) {
  const { mix, summary, page, weights, asker, look } = picture;
  const head = mix.map > 0.5 ? headAt(picture, x, y) : null;
  if (head && summary) {
    const { first, between, near } = sharesOf(summary, head);
    const values = {
      layer: head.layer + 1,
      head: head.head + 1,
      first: percent(first),
      between: percent(between),
      near: percent(near),
      count: summary.near_tokens,
    };
    return {
      text: t(
        "Layer {layer}, head {head}: {first} at the first token, {between} between, {near} at the last {count}.",
        values,
      ),
      seq: null,
      set: { attention_layer: head.layer + 1, attention_head: head.head + 1 },
    };
  }
  if (mix.chart > 0.5) return null;
  const i = wordAt(page, x, y);
  if (i < 0) return null;
  const values = { word: quoted(picture, i), place: i + 1, share: percent(weights[i]), asker: quoted(picture, asker) };
  const known = !Number.isNaN(weights[i]) && asker >= 0;
  if (mix.column > 0.5) {
    const text = known
      ? t("“{word}”, place {place}, gave “{asker}” {share} of its look.", values)
      : t("“{word}”, place {place}.", values);
    return { text, seq: null, set: { attention_word: i + 1 } };
  }
  const text = !known
    ? t("“{word}”, place {place}.", values)
    : i > asker
      ? t("“{word}”, place {place}: not written when “{asker}” looked.", values)
      : t("“{word}”, place {place}: {share} of the look of “{asker}”.", values);
  return { text, seq: look.own ? look.tokens[i].seq : null };
}

/** @param {Picture} picture */
export function describeLook(picture) {
  const { asker, weights, mix, look } = picture;
  if (!look.tokens.length) return t("There is no text yet, and nobody who could ask.");
  const values = { word: quoted(picture, asker), place: asker + 1, through: headWords(picture) };
  if (mix.column > 0.5) {
    const later = weights.map((weight, i) => (i > asker ? weight : Number.NaN));
    const most = argmax(later.map((weight) => (Number.isNaN(weight) ? -1 : weight)));
    if (asker < 0 || !(later[most] >= 0)) return t("No look of a later token is known.");
    return t(
      "“{word}” at place {place}, through {through}: of later tokens “{most}” looked at it most, with {share}.",
      {
        ...values,
        most: quoted(picture, most),
        share: percent(later[most]),
      },
    );
  }
  if (asker < 0 || Number.isNaN(weights[0]))
    return t("The words wait: nobody has looked into the heads at this moment.");
  const most = argmax(weights);
  return t("“{word}” at place {place} looks back through {through}: most at “{most}”, place {where}, with {share}.", {
    ...values,
    most: quoted(picture, most),
    where: most + 1,
    share: percent(weights[most]),
  });
}

/**
 * @param {Picture} picture
 * @param {State} state
 * @returns {import("../stage/types.d.ts").Table}
 */
export function tableOf(picture, state) {
  const { asker, weights, mix, look, head } = picture;
  const values = { word: quoted(picture, asker), place: asker + 1, through: headWords(picture) };
  /** @param {number | undefined} share */
  const show = (share) => (share === undefined || Number.isNaN(share) ? t("not probed") : share.toFixed(4));
  if (mix.column > 0.5)
    return {
      caption: t("Who looked at “{word}” (place {place}), through {through}", values),
      columns: [t("Place"), t("Token"), t("Share of its look")],
      rows: look.tokens
        .slice(Math.max(0, asker))
        .map((token, i) => [asker + i + 1, visible(token.text), show(weights[asker + i])]),
    };
  const parts = head && look.own && asker >= 0 ? brought(weights.subarray(0, asker + 1), state, head) : null;
  return {
    caption: t("Where “{word}” (place {place}) looks, through {through}", values),
    columns: [t("Place"), t("Token"), t("Share"), t("Share times length of its value, of all")],
    rows: look.tokens
      .slice(0, asker + 1)
      .map((token, i) => [i + 1, visible(token.text), show(weights[i]), show(parts?.[i])]),
  };
}
