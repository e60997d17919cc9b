// The styleguide: fills in what only a script can know (colours as they are, a number of the log) and draws a still of
// every room, by night and by day, with the rooms' own scenes.

import { Cast, rolesOf } from "./log/cast.js";
import { resolve } from "./log/moments.js";
import { Session } from "./log/session.js";
import { Takes } from "./log/takes.js";
import { SCENES } from "./scenes/index.js";
import { NARROW, room } from "./scenes/room.js";
import { drawDots, drawStill, viewOfStill } from "./stage/stills.js";
import { contrast, readThemes, wear } from "./stage/themes.js";
import { significant } from "./state/format.js";
import { element } from "./ui/dom.js";
import { setMessages } from "./ui/messages.js";
import { Numbers } from "./ui/numbers.js";
import { Timeline } from "./ui/timeline.js";

/** @typedef {import("./stage/types.d.ts").ColorName} ColorName */
/** @typedef {import("./stage/types.d.ts").View} View */

const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 388 };
/** What a desk's stage has at its foot besides the picture. */
const FOOT = 112;

/** @type {{ recording: string, takes: Record<string, string>, messages: Record<string, string> }} */
const config = JSON.parse(document.querySelector("#config")?.textContent ?? "{}");
setMessages(config.messages ?? {});
const THEMES = readThemes();

/** Resolvers of those who wait for a log. @type {(() => void)[]} */
const waiting = [];
const heard = () => {
  for (const go of waiting.splice(0)) go();
};
const own = new Session({ kind: "recording", url: config.recording }, heard);
const takes = new Takes({
  own: () => own,
  ask: async () => ({ refused: 0, detail: "" }),
  recorded: (key) => (Object.hasOwn(config.takes, key) ? config.takes[key] : null),
  source: (run) => ({ kind: "recording", url: run.events_url }),
  changed: heard,
});
const cast = new Cast(() => own, takes);

/** @param {() => boolean} condition about logs */
async function until(condition) {
  while (!condition()) {
    await new Promise((resolve) => {
      waiting.push(() => resolve(undefined));
    });
  }
}

/** @param {string} selector @param {ParentNode} [root] @returns {HTMLElement[]} */
const all = (selector, root = document) => /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]);

/** The colours as they are, and how they stand against the ground. */
function fillPalette() {
  for (const box of all(".theme")) {
    wear(box, THEMES[box.dataset.of === "day" ? "day" : "night"]);
    const { palette } = viewOfStill(box, {});
    for (const code of all("[data-hex]", box))
      code.textContent = palette.css[/** @type {ColorName} */ (code.dataset.hex)];
    for (const code of all("[data-contrast]", box)) {
      const name = /** @type {ColorName} */ (code.dataset.contrast);
      code.textContent = name === "ground" ? "" : `${significant(contrast(palette.rgb[name], palette.rgb.ground))}:1`;
    }
  }
}

/** Dots and strip, from the recorded run where its answer has begun. */
function drawMarks() {
  const { player, log } = own;
  player.seek(log.index.tokens[Math.min(18, log.index.tokens.length) - 1] ?? 0);
  for (const canvas of /** @type {HTMLCanvasElement[]} */ (all("canvas[data-guide]"))) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const view = viewOfStill(canvas, { width, height, hover: 30 });
    if (canvas.dataset.guide === "strip") {
      const strip = new Timeline(canvas);
      strip.resize(width, height);
      strip.draw({ log, t: player.t, total: log.t, palette: view.palette, beside: [] });
      continue;
    }
    const count = player.state.tokens.length;
    const places = new Float32Array(3 * count);
    for (let i = 0; i < count; i++) places.set([((i + 0.5) * width) / count, height / 2, 4], 3 * i);
    drawDots(canvas, places, player.state, view);
  }
}

/**
 * The article's rooms, and the step of each that stands for it.
 * @returns {Promise<{ slug: string, name: string, step: HTMLElement }[]>}
 */
async function roomsOfArticle() {
  const page = new DOMParser().parseFromString(await (await fetch("./")).text(), "text/html");
  return all(".chapter[data-scene]", page).map((section) => {
    const steps = all(".step", section);
    const name = section.querySelector("h1, h2")?.textContent?.replace(/\s+/g, " ").trim() ?? section.id;
    return { slug: section.dataset.scene ?? section.id, name, step: steps[steps.length >> 1] };
  });
}

/** Put those on stage whom a step names, at its moment. @param {HTMLElement} step */
async function play(step) {
  const roles = rolesOf(step.dataset.cast);
  const keys = [roles.main, ...roles.lanes].filter((key) => key !== "own");
  for (const key of keys) takes.want(key, null);
  await until(() => keys.every((key) => takes.get(key)?.status === "missing" || takes.get(key)?.log?.complete));
  cast.roles = roles;
  cast.align();
  const { player, log } = cast.main;
  const moment = step.dataset.moment;
  if (!moment || moment === "end") player.live();
  else player.scroll(resolve(log, moment));
  cast.align();
}

/** @param {HTMLElement} row @param {string} slug @param {import("./stage/types.d.ts").Scene} scene @param {HTMLElement} step */
function drawRoom(row, slug, scene, step) {
  const narrow = innerWidth < NARROW;
  const size = narrow ? PHONE : DESK;
  const both = element("div", { class: "both" });
  row.append(both);
  let words = "";
  for (const name of /** @type {const} */ (["night", "day"])) {
    const stage = element("div", { class: "still-stage" });
    const box = element("div", { class: "theme still" }, [stage]);
    wear(box, THEMES[name]);
    both.append(box);
    const data = JSON.parse(step.dataset.view ?? "{}");
    const view = viewOfStill(box, { ...size, chapter: slug, data, cast: cast.view() });
    drawStill(stage, scene, cast, view);
    // The prologue spans the window; a room stands beside the prose and above the foot.
    const left = slug === "prologue" ? 0 : room(view).left;
    const height = size.height - (narrow ? 0 : FOOT);
    const scale = box.clientWidth / (size.width - left);
    stage.style.transform = `scale(${scale}) translateX(${-left}px)`;
    box.style.height = `${Math.round(height * scale)}px`;
    words = scene.describe(cast.main.player.state, view, cast.states());
  }
  row.append(element("p", { class: "still-words", text: words }));
}

async function drawRooms() {
  const stills = document.querySelector("#stills");
  for (const { slug, name, step } of await roomsOfArticle()) {
    const offer = SCENES[slug];
    if (!offer || !step) continue;
    const scene = typeof offer === "function" ? (await offer()).default : offer;
    await play(step);
    const row = element("section", { class: "still-row", "data-room": slug }, [element("h3", { text: name })]);
    stills?.append(row);
    drawRoom(row, slug, scene, step);
    await new Promise((resolve) => requestAnimationFrame(resolve)); // a frame a room
  }
}

fillPalette();
own.start();
await until(() => own.log.complete);
await document.fonts.ready;
drawMarks();
const { state } = own.player;
new Numbers(document).update({
  state,
  chapter: "",
  rules: {},
  runs: { own: state, at: {}, ended: () => undefined },
});
await drawRooms();
document.documentElement.dataset.stills = "done";
