// A picture of the room on stage at this moment, to keep or to show: the stage as it stands, twice as sharp, and below it
// a strip that says what it is and whose. (PNG: every room draws on canvases, so there is no SVG to give.)

import { fileOf } from "../log/from_file.js";
import { fullBleed, room } from "../scenes/room.js";
import { font, label } from "../stage/text.js";
import { addressed } from "./addresses.js";
import { linkTo } from "./deep_link.js";
import { paintElement } from "./dom_paint.js";
import { t } from "./messages.js";

/** @typedef {import("../stage/stage.js").Stage} Stage */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {{ left: number, top: number, width: number, height: number }} Area */
/** @typedef {{ whose: string, kind: "measured" | "recorded", where: string }} Credit of one run on stage */
/** @typedef {{ title: string, words: string, credits: Credit[], address: string }} Caption */

const SHARPNESS = 2;
const MARGIN = 20;
const LINE = 21;

/** The words of the badges, each a literal in `t` for the catalogue. */
const BADGES = { measured: () => t("measured"), recorded: () => t("recorded") };

/**
 * What is said of a run wherever a picture of it goes.
 * @param {State} state
 * @param {string} whose
 * @returns {Credit}
 */
export function creditOf({ opened }, whose) {
  const day = opened ? new Date(opened.opened_at * 1000).toISOString().slice(0, 10) : "";
  const file = fileOf(opened);
  const where = [
    opened?.take ? t("take “{take}”", { take: opened.take }) : "",
    opened?.model?.name,
    opened?.hardware?.name,
    day,
    file === null ? "" : t("opened from a file: {name}", { name: file }),
  ];
  return { whose, kind: opened?.source === "live" ? "measured" : "recorded", where: where.filter(Boolean).join(" · ") };
}

/** What the reader sees of the stage: all of it in the prologue, else what the prose leaves free. @param {View} view @returns {Area} */
function areaOf(view) {
  const sharp = (/** @type {number} */ edge) => Math.round(SHARPNESS * edge) / SHARPNESS;
  if (view.chapter !== "prologue") {
    const { left, top, width, height } = room(view);
    return { left: sharp(left), top, width: sharp(width), height: sharp(height) };
  }
  const { width, words } = fullBleed(view);
  return { left: 0, top: 0, width, height: words };
}

/** The ground of the stage, as `#stage` of layout.css has it. @param {CanvasRenderingContext2D} context @param {View} view */
function paintGround(context, { width, height, palette }) {
  context.save();
  context.fillStyle = palette.css.ground;
  context.fillRect(0, 0, width, height);
  context.translate(0.62 * width, 0.42 * height);
  context.scale(0.6 * width, 0.6 * height);
  const glow = context.createRadialGradient(0, 0, 0, 0, 0, 1);
  glow.addColorStop(0, palette.css.panel);
  glow.addColorStop(1, palette.css.ground);
  context.fillStyle = glow;
  context.fillRect(-2, -2, 4, 4);
  context.restore();
}

/**
 * A text broken into lines.
 * @param {CanvasRenderingContext2D} context with its font
 * @param {string} text
 * @param {number} width
 */
function wrapped(context, text, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of text
    .replace(/[\n\t]/g, " ")
    .split(" ")
    .filter(Boolean)) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/**
 * The strip below: laid out first, since its height follows from its words.
 * @param {CanvasRenderingContext2D} context
 * @param {Caption} caption
 * @param {number} width
 */
function layStrip(context, { title, words, credits, address }, width) {
  const inner = width - 2 * MARGIN;
  /** @type {{ text: string, style: import("../stage/text.js").Style & { size: number }, badge: string, gap: number, ink: boolean }[]} */
  const lines = [];
  /** @param {string} text @param {import("../stage/text.js").Style & { size: number }} style @param {number} gap */
  const put = (text, style, gap, badge = "") => {
    context.font = font(style);
    const first = badge ? inner - 90 : inner;
    wrapped(context, text, first).forEach((line, i) => {
      lines.push({
        text: line,
        style: { ...style, width: first },
        gap: i ? 0 : gap,
        badge: i ? "" : badge,
        ink: text === title,
      });
    });
  };
  put(title, { size: 18, weight: 600, face: "serif" }, 0);
  put(words, { size: 14 }, 4);
  for (const { whose, kind, where } of credits) put(`${whose} · ${where}`, { size: 12 }, 8, BADGES[kind]());
  put(address, { size: 12, face: "mono" }, 2);
  const height = lines.reduce((sum, { gap }) => sum + LINE + gap, 2 * MARGIN - 4);
  return { lines, height };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ReturnType<typeof layStrip>} strip
 * @param {number} width
 * @param {View["palette"]} palette
 */
function paintStrip(context, { lines, height }, width, { css }) {
  context.fillStyle = css.ground;
  context.fillRect(0, 0, width, height);
  context.fillStyle = css.line;
  context.fillRect(0, 0, width, 1);
  let y = MARGIN - 4;
  for (const { text, style, gap, badge, ink } of lines) {
    y += gap;
    let x = MARGIN;
    if (badge) {
      context.font = font({ size: 11, weight: 500 });
      const wide = context.measureText(badge).width + 10;
      context.beginPath();
      context.roundRect(x + 0.5, y + 1.5, wide, 17, 4);
      context.lineWidth = 1;
      context.strokeStyle = css.line;
      context.stroke();
      label(context, badge, x + 5.5, y + 14, { size: 11, weight: 500, color: css.muted });
      x += wide + 8;
    }
    label(context, text, x, y + 15, { ...style, color: ink ? css.ink : css.muted });
    y += LINE;
  }
}

/**
 * @param {Stage} stage
 * @param {Caption} caption
 * @returns {Promise<Blob>} PNG
 */
export function pictureOf(stage, caption) {
  const canvas = document.createElement("canvas");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  stage.shown(SHARPNESS, (layer, dots, view) => {
    const area = areaOf(view);
    const strip = layStrip(context, caption, area.width);
    canvas.width = Math.round(SHARPNESS * area.width);
    canvas.height = Math.round(SHARPNESS * (area.height + strip.height));
    context.setTransform(SHARPNESS, 0, 0, SHARPNESS, -SHARPNESS * area.left, -SHARPNESS * area.top);
    paintGround(context, view);
    // The stage stands at the window's own corner, so that the boxes of elements are places on it.
    for (const child of layer.children) paintElement(context, child);
    paintElement(context, dots);
    context.setTransform(SHARPNESS, 0, 0, SHARPNESS, 0, SHARPNESS * area.height);
    paintStrip(context, strip, area.width, view.palette);
  });
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png");
  });
}

/**
 * The room on stage as a file, with what it shows and whose run it is below it.
 * @param {Stage} stage
 * @param {import("../log/cast.js").Cast} cast
 * @param {import("./run_on_stage.js").RunOnStage} run
 * @param {Record<string, string>} recordings of its takes, by their keys
 */
export async function savePicture(stage, cast, run, recordings) {
  const { chapter: slug, step } = stage.view;
  const { player } = cast.main;
  const title = document.querySelector(`#${CSS.escape(slug)} :is(h1, h2)`)?.textContent?.trim() ?? "";
  const address = new URL(document.baseURI);
  // A run's address is the key to read it: not for everybody who sees the picture.
  const open = run.session.source.kind === "recording";
  address.search = "";
  const beside = addressed("with") ?? "";
  if (open && Object.hasOwn(recordings, beside)) address.searchParams.set("with", beside);
  address.hash = open ? linkTo({ slug, time: player.t, step }) : slug;
  const guest = cast.takes.get("with")?.session;
  const credits = [...new Set([cast.main, ...cast.sessions])].map((each) => {
    const own = each === null || each === run.session;
    const whose = own ? run.whose : each === guest ? t("Beside it") : t("A take of it");
    return creditOf((each ?? run.session).player.state, whose);
  });
  const words = stage.scene?.describe(player.state, stage.view, cast.states()) ?? "";
  save(await pictureOf(stage, { title, words, credits, address: address.href }), `open-kitchen-${slug}.png`);
}

/**
 * Give the reader a file.
 * @param {Blob} blob
 * @param {string} name
 */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
