// The page: wires log, stage and hands together. What happens is in the modules; this says who hears of what.

import { SCENES } from "./scenes/index.js";
import { Stage } from "./stage/stage.js";
import { addressed, sourceOf } from "./ui/addresses.js";
import { Answer } from "./ui/answer.js";
import { Beside } from "./ui/beside.js";
import { Casting } from "./ui/casting.js";
import { bindControls } from "./ui/controls.js";
import { bindCopy, DeepLink, linkTo } from "./ui/deep_link.js";
import { say, seldom } from "./ui/dom.js";
import { offerInspection } from "./ui/inspect.js";
import { LiveRegion } from "./ui/live_region.js";
import { setMessages, t } from "./ui/messages.js";
import { bindMotion, reduced } from "./ui/motion.js";
import { withoutKitchen } from "./ui/no_kitchen.js";
import { missingRoom, Notice } from "./ui/notice.js";
import { Numbers } from "./ui/numbers.js";
import { Opening } from "./ui/opening.js";
import { bindPointer } from "./ui/pointer.js";
import { askForTheEnd, bindPrompt, markFirstToken, stopRun } from "./ui/prompt.js";
import { Reading } from "./ui/reading.js";
import { Ribbon } from "./ui/ribbon.js";
import { RoomsNav } from "./ui/rooms_nav.js";
import { RunOnStage } from "./ui/run_on_stage.js";
import { bindShare } from "./ui/share_button.js";
import { TableView } from "./ui/table.js";
import { bindTheme } from "./ui/theme.js";
import { Tools } from "./ui/tools.js";
import { Tooltip } from "./ui/tooltip.js";
import { Transport } from "./ui/transport.js";

/** @typedef {import("./ui/run_on_stage.js").Config & { takes: Record<string, string>, messages: Record<string, string>, embeds: string }} Config `takes`: recorded ones, by their keys; `embeds`: how the addresses of embedded rooms end */

// Where this runs, there is a server.
document.querySelector("#needs-server")?.remove();

const MOST_TIMINGS = 4000;

/** @param {string} selector @returns {HTMLElement} */
function required(selector) {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return found;
}

/** @param {string} selector */
const optional = (selector) => /** @type {HTMLElement | null} */ (document.querySelector(selector));

/** @type {Config} */
const config = JSON.parse(required("#config").textContent ?? "{}");
setMessages(config.messages ?? {});

/** @type {number[]} milliseconds of script a frame, the last few thousand */
const timings = [];
const article = required("main");
const tooltip = new Tooltip();
const run = new RunOnStage(config, { changed, bound, shown: () => inPrologue() && scrollTo(0, 0) });
const topbar = required("#topbar");
bindTheme(optional("[data-action=theme]"));
if (!config.kitchen) withoutKitchen(article);
const casting = new Casting(required("#stage"), article, {
  own: () => run.session,
  recordings: config.takes ?? {},
  source: sourceOf,
  scene: () => stage.sceneHere,
  controls: () => stage.view.controls,
  changed: takeChanged,
  recast,
  ...(config.kitchen ? {} : { ask: noKitchen }),
});
const { cast } = casting;
/** Of who is in the main role: the reader's own run, or the take that a step shows. */
const player = () => cast.main.player;
const stage = new Stage(required("#stage"), SCENES, {
  player,
  cast: () => cast,
  beforeFrame: () => reading.beforeFrame(),
  reduced,
  timed,
});
const reading = new Reading(article, {
  stage,
  casting,
  went: (place) => {
    nav.update(place);
    link.arrived();
  },
});
const gesture = () => reading.gesture();

/** @param {number} position */
const hover = (position) => {
  if (stage.view.hover !== position) stage.setView({ hover: position });
};
/** @param {number} seq */
const seek = (seq) => {
  player().pause();
  player().seek(seq);
  gesture();
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
const answer = new Answer(required("#answer"), optional("#question"), { token, hover, tooltip });
const copy = required("[data-action=link]");
const embed = required("[data-action=embed]");
const nav = new RoomsNav(topbar, reading.scroll.sections, [copy, embed]);
const link = new DeepLink({
  go: (slug, step, again) => reading.go(slug, step, again),
  log: () => {
    const waits = cast.main === run.session && !["own", "missing"].includes(cast.view().main.status);
    return waits ? null : cast.main.log;
  },
  seek: (time) => {
    cast.align();
    player().pause();
    player().seekTime(time);
    gesture();
  },
});
new ResizeObserver(() => link.settle()).observe(article);
const numbers = new Numbers(document);
const live = new LiveRegion(required("#live-region"));
const notice = new Notice(optional("#notice"), () => run.session.start());
const caption = optional("#stage-caption");
const stopButtons = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-action=stop]"));
const table = new TableView(topbar, () => stage.scene?.table(player().state, stage.view, cast.states()) ?? null);
const hear = seldom(200, () => live.update(player().state, player().moving));
const opening = new Opening({ open: openFile });
const tools = new Tools(topbar);
const shareable = bindShare(tools, optional(".share-this"), {
  kitchen: config.kitchen !== false,
  subject: () => {
    const slug = stage.view.chapter;
    const room =
      document.getElementById(slug)?.querySelector(".kicker")?.textContent?.replace(/\s+/g, " ").trim() ?? slug;
    const moment = linkTo({ slug, time: player().t, step: stage.view.step });
    const { runId } = run.session;
    const recording = (runId === null ? null : config.runs[runId]) ?? config.recording;
    return { runId, own: run.mine, recording, slug, room, moment, time: player().t };
  },
  deleted: () => run.close(),
});
tools.add("open-file", t("Open a log from a file"), () => opening.choose());
tools.add("compare", t("Compare with another run"), () => void beside.compare(null));
tools.add("picture", t("Save a picture of this room"), () => void savePicture());
const closeFile = tools.add("close-file", t("Close the file"), () => void run.openPage(null));
const beside = new Beside({
  recordings: { [config.recording.replace(/^.*\/|\.jsonl\.gz$/g, "")]: config.recording, ...config.takes },
  run,
  casting,
  opening,
  arrive: (section) => {
    nav.add(section);
    reading.scroll.measure();
    numbers.refresh();
  },
  go: () => reading.go("compare", 0),
});
const answerChapter = required("#answer").closest(".chapter")?.id;
/** Where the answer stands. */
const inPrologue = () => stage.view.chapter === answerChapter;
const describe = seldom(500, () => {
  if (caption && stage.scene) say(caption, stage.scene.describe(player().state, stage.view, cast.states()));
});

bindCopy(copy, () => {
  // A moment of a file is none of what another reader would find at the address.
  const time = run.session.source.kind === "opened" ? null : player().t;
  return linkTo({ slug: stage.view.chapter, time, step: stage.view.step });
});
embed.addEventListener("click", async () => {
  const { embedDialog } = await import("./ui/embed_dialog.js");
  embedDialog({ base: document.baseURI, suffix: config.embeds }, inView).open();
});
const controls = bindControls(article, (values) => stage.setView({ controls: values }));
bindPointer(stage, { player, tooltip, seek, choose: controls.set });
bindMotion(topbar, (still) => {
  if (still && player().drive === "clock") player().pause();
  stage.setView({ reduced: still });
});
if (config.kitchen)
  bindPrompt(/** @type {HTMLFormElement} */ (required("#prompt-form")), {
    run: (accepted) => run.open(accepted),
    stop,
  });
document.addEventListener("htmx:afterSwap", () => numbers.refresh());
document.addEventListener("htmx:after:swap", () => numbers.refresh());
addEventListener("popstate", () => {
  run.follow();
  void beside.follow();
});

/** Nobody cooks a take here. */
async function noKitchen() {
  return { refused: 0, detail: t("This copy of the page has no kitchen.") };
}

/** The room in view, for a frame elsewhere; the first screen is none, and the hall behind it stands for it. */
function inView() {
  const { chapter, step } = stage.view;
  const section = document.querySelector(`.room#${CSS.escape(chapter)}`) ?? required("#kv-hall");
  const title = section.querySelector("h2")?.textContent ?? section.id;
  return { room: section.id, title, run: run.session.runId, step: section.id === chapter ? step : 0, time: player().t };
}

/** @param {number} milliseconds */
function timed(milliseconds) {
  timings.push(milliseconds);
  if (timings.length > MOST_TIMINGS) timings.splice(0, MOST_TIMINGS / 2);
}

/** Another run has the main role: its words and its strip take the place of the last one's. */
function recast() {
  ribbon.clear();
  tooltip.hide();
  if (!reading.again() && player() !== run.session.player && player().seq === 0) player().live();
  stage.invalidate("run");
}

/** @param {import("./log/takes.js").Take} take its log grew, or it stands otherwise */
function takeChanged(take) {
  // Where the scroll holds the playhead, its moment may lie elsewhere now: a race ends with its slowest lane.
  if (cast.sessions.includes(take.session)) reading.again();
  link.arrived();
  stage.invalidate("log");
}

/** What the reader has to know. */
function tell() {
  const isMissing = stage.missing !== null && stage.missing === stage.view.chapter;
  notice.show(run.notice ?? (isMissing ? missingRoom() : null));
}

/** @param {"log" | "status"} what */
function changed(what) {
  const { source, log, player: own } = run.session;
  tell();
  for (const button of stopButtons) button.hidden = !(own.growing && run.mine);
  shareable(source.kind, log.closed !== null && run.mine);
  if (log.closed && source.kind === "run" && what === "log") askForTheEnd();
  transport.words();
  controls.fit(log.opened?.model ?? null);
  if (log.closed) casting.ownChanged();
  if (what === "log") link.arrived();
  if (what === "log") stage.invalidate("log");
}

stage.listen((frame) => {
  const { state, changed: what } = frame;
  transport.update(frame);
  if (what.scene) tell();
  if (what.playhead || what.run) {
    ribbon.update(state);
    hear();
  }
  if ((what.playhead || what.run || what.scene) && frame.view.chapter === answerChapter) {
    const own = run.session.source.kind === "run";
    if (answer.update(state) && state.request.firstTokenAt !== null && own) markFirstToken();
  }
  if (what.playhead || what.run || what.scene || what.view || what.log) {
    const rules = stage.scene?.facts ?? {};
    numbers.update({ state: run.session.player.state, chapter: frame.view.chapter, rules, runs: cast.runs() });
    describe();
    table.update();
  }
});

/** Another run is to take the stage. */
function bound() {
  const { kind } = run.session.source;
  answer.clear();
  ribbon.clear();
  live.clear();
  tooltip.hide();
  gesture();
  casting.clear();
  stage.rebind();
  document.documentElement.dataset.run = kind === "recording" ? "recorded" : "own";
  closeFile.hidden = kind !== "opened";
  const where = optional("[data-source]");
  if (where) say(where, run.whose);
}

/**
 * @param {import("./log/opened_file.js").Opened} file
 * @returns {import("./ui/opening.js").Offer[]}
 */
function openFile(file) {
  run.openFile(file);
  if (run.before === null) return [];
  return [{ words: t("Compare it with the run before"), act: () => void beside.compare("(before)") }];
}

async function savePicture() {
  const picture = await import("./ui/picture.js");
  await picture.savePicture(stage, cast, run, config.takes);
}

async function stop() {
  const { runId } = run.session;
  if (runId === null || (await stopRun(runId))) return;
  live.say(t("This run is not yours to stop."));
}

offerInspection({ cast, stage, session: () => run.session }, { timings });

const idle = globalThis.requestIdleCallback ?? ((/** @type {() => void} */ run) => setTimeout(run, 500));
idle(() => stage.prepare(stage.view.chapter));
void run.openPage(config.kitchen ? config.run_id : addressed("run"));
void beside.follow(!location.hash);
link.follow();
