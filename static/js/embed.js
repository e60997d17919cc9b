// One room in a frame of somebody else's page: a replay, with its steps as buttons. No form, no cookie, no storage, and
// nothing is drawn while nobody can see it. It works in `sandbox="allow-scripts"`, whose origin is nobody's.

import { wishesOf } from "./embed/address.js";
import { stageHeight, tellHeight } from "./embed/parent.js";
import { sourceWords } from "./embed/source.js";
import { Steps } from "./embed/steps.js";
import { Session } from "./log/session.js";
import { NARROW } from "./scenes/room.js";
import { ROOMS } from "./scenes/rooms.js";
import { Stage } from "./stage/stage.js";
import { Casting } from "./ui/casting.js";
import { bindControls } from "./ui/controls.js";
import { linkTo } from "./ui/deep_link.js";
import { say, seldom } from "./ui/dom.js";
import { offerInspection } from "./ui/inspect.js";
import { setMessages, t } from "./ui/messages.js";
import { withoutKitchen } from "./ui/no_kitchen.js";
import { Notice, noticeOf } from "./ui/notice.js";
import { Numbers } from "./ui/numbers.js";
import { bindPointer } from "./ui/pointer.js";
import { Ribbon } from "./ui/ribbon.js";
import { boxOf, momentOf } from "./ui/scroll.js";
import { Tooltip } from "./ui/tooltip.js";
import { Transport } from "./ui/transport.js";

/** @typedef {{ chapter: string, recording: string, takes: Record<string, string>, runs: Record<string, string>, messages: Record<string, string> }} Config `takes`: recorded ones by their keys; `runs`: logs of other runs that can be had here, by their ids */

/** @param {string} selector @returns {HTMLElement} */
function required(selector) {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return found;
}

/** @type {Config} */
const config = JSON.parse(required("#config").textContent ?? "{}");
setMessages(config.messages);

const article = required("main");
const section = required(`#${config.chapter}`);
const elements = /** @type {HTMLElement[]} */ ([...section.querySelectorAll(".step")]);
const wishes = wishesOf(location.search, elements.length);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const reduced = () => still.matches;
const tooltip = new Tooltip();
withoutKitchen(section);

/** Whether the step says where the playhead stands; else another hand did. */
let held = true;
/** On the way from one step to another. */
let walking = false;
/** What the address wishes for once the run has come that far. */
let wanted = wishes.time;
let toPlay = wishes.autoplay;

const runs = new Map(Object.entries(config.runs));
/** @param {string} path */
const absolute = (path) => new URL(path, document.baseURI).href;
/** @returns {import("./log/session.js").Source} */
function source() {
  const log = wishes.run === null ? undefined : runs.get(wishes.run);
  if (wishes.run === null || log === undefined) return { kind: "recording", url: absolute(config.recording) };
  return { kind: "run", runId: wishes.run, socketUrl: "", eventsUrl: absolute(log), closed: true };
}
const session = new Session(source(), changed);

const casting = new Casting(required("#stage"), article, {
  own: () => session,
  recordings: Object.fromEntries(Object.entries(config.takes).map(([key, path]) => [key, absolute(path)])),
  source: () => source(),
  scene: () => stage.sceneHere,
  controls: () => stage.view.controls,
  changed: (take) => {
    if (cast.sessions.includes(take.session)) follow();
    stage.invalidate("log");
  },
  recast: () => {
    ribbon.clear();
    tooltip.hide();
    follow();
    stage.invalidate("run");
  },
  ask: async () => ({ refused: 0, detail: t("Nothing is cooked in a frame.") }),
});
const { cast } = casting;
const player = () => cast.main.player;

const stage = new Stage(
  required("#stage"),
  { [config.chapter]: ROOMS[config.chapter] },
  { player, cast: () => cast, beforeFrame, reduced, timed: () => undefined },
);
const steps = new Steps(boxOf(section, elements, 0), elements, {
  reduced,
  went: () => {
    held = true;
    walking = true;
    wanted = null;
    toPlay = false;
    player().pause();
    stage.invalidate("view");
  },
});
steps.stand(wishes.step);
section.append(steps.root);

/** Another hand than a step's set the playhead. */
function gesture() {
  held = false;
  wanted = null;
  toPlay = false;
  stage.invalidate("playhead");
}

/** @param {number} seq */
const seek = (seq) => {
  player().pause();
  player().seek(seq);
  gesture();
};
/** @param {number} position */
const hover = (position) => {
  if (stage.view.hover !== position) stage.setView({ hover: position });
};
/** @param {number} position */
const token = (position) => player().state.tokens[position];

const transport = new Transport(required("#transport"), {
  player,
  status: () => cast.main.status,
  gesture,
  beside: () => cast.beside,
  tooltip,
});
const ribbon = new Ribbon(required("#ribbon"), { token, hover, tooltip, seek: ({ seq }) => seek(seq) });
const numbers = new Numbers(document);
const notice = new Notice(required("#notice"), () => session.start());
const caption = required("#stage-caption");
const open = /** @type {HTMLAnchorElement} */ (required("#embed-open"));
const where = required("#embed-source");
const controls = bindControls(article, (values) => stage.setView({ controls: values }));
bindPointer(stage, { player, tooltip, seek, choose: controls.set });
still.addEventListener("change", () => stage.setView({ reduced: still.matches }));

/** @param {number} now */
function beforeFrame(now) {
  const place = steps.place(now);
  stage.setPlace(place);
  casting.enter(place.cast);
  if (!walking) return;
  follow();
  walking = steps.walking(now);
  if (walking) stage.invalidate("view");
}

/** Set the playhead where the step says, or where the address wished it. */
function follow() {
  const { log } = player();
  if (log.seq === 0) return;
  if (wanted !== null && waited() && (log.t >= wanted || log.complete)) {
    cast.align();
    player().pause();
    player().seekTime(wanted);
    wanted = null;
    held = false;
  }
  if (toPlay && waited()) {
    if (held) player().seek(0);
    held = false;
    toPlay = false;
    player().play();
  }
  const found = held && momentOf(steps.place(performance.now()), (name) => cast.moment(name));
  if (found) player().scroll(found);
}

/** Everybody who is to be on stage at this step is there, and so is its picture. */
function waited() {
  const { main, lanes } = cast.view();
  const entered = casting.said === (elements[steps.to].dataset.cast ?? "");
  const there = [main, ...lanes].every(({ key, state, status }) => key === "own" || state || status === "missing");
  return stage.sceneHere !== null && entered && there;
}

/** The log grew, or it stands otherwise. */
function changed() {
  const { status, log } = session;
  const unknown = wishes.run !== null && !runs.has(wishes.run) ? noticeOf(null, { state: "not-found" }) : null;
  notice.show(noticeOf(log.closed, status, session.source.kind === "recording") ?? unknown);
  controls.fit(log.opened?.model ?? null);
  transport.words();
  if (log.opened) sourceWords(where, log.opened, session.source.kind === "run" ? "run" : "recording");
  if (log.closed) casting.ownChanged();
  follow();
  stage.invalidate("log");
}

const describe = seldom(500, () => {
  if (stage.scene) say(caption, stage.scene.describe(player().state, stage.view, cast.states()));
  const run = session.runId === null ? "" : `?run=${encodeURIComponent(session.runId)}`;
  open.href = absolute(`./${run}${linkTo({ slug: config.chapter, time: player().t, step: stage.view.step })}`);
});

stage.listen((frame) => {
  transport.update(frame);
  const { playhead, run, scene: another, view, log } = frame.changed;
  // The picture may be what was waited for: it came after the log.
  if (another) follow();
  if (playhead || run) ribbon.update(frame.state);
  if (!(playhead || run || another || view || log)) return;
  const rules = stage.scene?.facts ?? {};
  numbers.update({ state: session.player.state, chapter: config.chapter, rules, runs: cast.runs() });
  describe();
});

/** How high this page would be at its best. */
function height() {
  const narrow = innerWidth < NARROW;
  const wish = stageHeight(innerWidth, narrow);
  if (!narrow) return wish;
  const { height: now } = required("#stage").getBoundingClientRect();
  return Math.ceil(document.body.scrollHeight - now + wish);
}

let begun = false;
/** @param {boolean} seen */
function show(seen) {
  stage.show(seen);
  if (!seen || begun) return;
  begun = true;
  session.start();
  stage.prepare(config.chapter);
}

stage.show(false);
new IntersectionObserver((entries) => show(entries.at(-1)?.isIntersecting ?? false)).observe(required("#stage"));
tellHeight(height, [document.body, section]);

offerInspection({ cast, stage, session: () => session }, { steps });
