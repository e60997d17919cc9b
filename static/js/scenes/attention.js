// 06 attention: the newest token looks back at all the others; how its scores become shares and its shares a blend; all
// heads on one map; and who looked at one word.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { attentionBody, gazeBody } from "./attention_asks.js";
import { drawBlend, drawChart } from "./attention_chart.js";
import { facts } from "./attention_facts.js";
import { drawBeams, drawLamp, drawShares, drawTitle, drawWords, hueOf } from "./attention_light.js";
import { HeadMap } from "./attention_map.js";
import { pictureOf } from "./attention_picture.js";
import { describeLook, hitIn, tableOf } from "./attention_words.js";
import { clamp, smooth } from "./room.js";

/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, heads: HeadMap }} Surfaces */

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const sheet = mountCanvas(layer);
    sheet.canvas.setAttribute("aria-hidden", "true");
    return { ...sheet, heads: new HeadMap() };
  },

  places(state, view) {
    const { dots, look } = pictureOf(state, view);
    // Where another text plays in its place, this run's tokens are not in the picture.
    return look.own ? dots : new Float32Array(3 * state.tokens.length);
  },

  draw({ canvas, context, heads }, [state], view) {
    wipe({ canvas, context }, view);
    const picture = pictureOf(state, view);
    const { mix } = picture;
    const reading = 1 - smooth(0, 0.6, mix.chart);
    const moving = 4 * mix.map * (1 - mix.map); // words that change their lines are dimmed on the way
    const text = reading * (1 - 0.8 * moving);
    drawTitle(context, picture, view, 1);
    if (reading > 0.02) {
      drawBeams(context, picture, view, text);
      drawWords(context, picture, view, text);
      drawShares(context, picture, view, text * clamp(3 * view.entered - 2));
      if (!picture.look.own) drawMarks(context, picture, view, text);
    }
    // The blend stands where the lamp stood.
    if (mix.blend < 0.5) drawLamp(context, picture, view, 1 - smooth(0, 0.5, mix.blend));
    if (mix.chart > 0.4) drawChart(context, picture, view, smooth(0.4, 1, mix.chart));
    if (mix.blend > 0.5) drawBlend(context, picture, state, view, smooth(0.5, 1, mix.blend));
    if (mix.map > 0.02) heads.draw(context, picture, view, smooth(0.4, 1, mix.map), mix.mean);
  },

  hit: (x, y, state, view) => hitIn(pictureOf(state, view), x, y),
  describe: (state, view) => describeLook(pictureOf(state, view)),
  table: (state, view) => tableOf(pictureOf(state, view), state),

  takes: { attention: attentionBody, gaze: gazeBody },

  facts,
};

/**
 * Tokens of another text than that of the run on stage: rings, for the dots are the run's own.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./attention_picture.js").Picture} picture
 * @param {import("../stage/types.d.ts").View} view
 * @param {number} alpha
 */
function drawMarks(context, picture, view, alpha) {
  const { dots } = picture;
  context.globalAlpha = alpha;
  context.lineWidth = 1.2;
  for (let i = 0; 3 * i < dots.length; i++) {
    context.strokeStyle = view.palette.css[hueOf(picture, i)];
    context.beginPath();
    context.arc(dots[3 * i], dots[3 * i + 1], Math.max(0.5, dots[3 * i + 2]), 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
}
