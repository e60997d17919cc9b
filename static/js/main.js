// The page: wires log, stage and hands together. What happens is in the modules; this says who hears of what.

import { findRun } from "./log/find.js";
import { Session } from "./log/session.js";
import { SCENES } from "./scenes/index.js";
import { Stage } from "./stage/stage.js";
import { Answer } from "./ui/answer.js";
import { Casting } from "./ui/casting.js";
import { bindControls } from "./ui/controls.js";
import { bindCopy, DeepLink, linkTo } from "./ui/deep_link.js";
import { say, seldom } from "./ui/dom.js";
import { offerInspection } from "./ui/inspect.js";
import { LiveRegion } from "./ui/live_region.js";
import { setMessages, t } from "./ui/messages.js";
import { bindMotion, reduced } from "./ui/motion.js";
import { withoutKitchen } from "./ui/no_kitchen.js";
import { Notice, noticeOf } from "./ui/notice.js";
import { Numbers } from "./ui/numbers.js";
import { Opening } from "./ui/opening.js";
import { bindPointer } from "./ui/pointer.js";
import { askForTheEnd, bindPrompt, rememberRun, stopRun } from "./ui/prompt.js";
import { Ribbon } from "./ui/ribbon.js";
import { RoomsNav } from "./ui/rooms_nav.js";
import { momentOf, ScrollBinding } from "./ui/scroll.js";
import { bindShare } from "./ui/share_button.js";
import { TableView } from "./ui/table.js";
import { bindTheme } from "./ui/theme.js";
import { Tools } from "./ui/tools.js";
import { Tooltip } from "./ui/tooltip.js";
import { Transport } from "./ui/transport.js";

/** @typedef {import("./log/session.js").Source} Source */
/** @typedef {{ run_id: string | null, mine: boolean, recording: string, takes: Record<string, string>, messages: Record<string, string>, embeds: string, kitchen: boolean, runs: Record<string, string> }} Config `takes`: recorded ones, by their keys; `embeds`: how the addresses of embedded rooms end; `kitchen`: whether one stands behind the page; `runs`: where none does, the logs that lie beside it, by their runs' ids */

/** A scroll shorter than this, in pixels, does not take the playhead from another hand. */
const SCROLL_TAKES_OVER = 40;
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
let heldAt = scrollY;
let layoutChanged = true;
/** The address asks for a run that nobody knows; a recording plays in its place. */
let unknownRun = false;
/** Runs asked for so far: an answer that comes after the reader asked for another one is not for them any more. */
let asked = 0;

const runOfAddress = () => new URL(location.href).searchParams.get("run");
/** The run that the address asked for when it was last looked at. */
let addressed = runOfAddress();

/** Runs that this reader asked for. @type {Set<string | null>} */
const own = new Set(config.mine ? [config.run_id] : []);

/** What was on stage before it. @type {Source | null} */
let before = null;
/** The room in which two runs are compared, once somebody does. @type {Promise<import("./ui/comparing.js").Comparing> | null} */
let comparing = null;
let session = new Session({ kind: "recording", url: config.recording }, changed);

const topbar = required("#topbar");
bindTheme(optional("[data-action=theme]"));
if (!config.kitchen) withoutKitchen(article);
const casting = new Casting(required("#stage"), article, {
  own: () => session,
  recordings: config.takes ?? {},
  source: sourceOf,
  scene: () => stage.sceneHere,
  controls: () => stage.view.controls,
  changed: takeChanged,
  recast,
  ...(config.kitchen ? {} : { ask: noKitchen }),
});
const { cast } = casting;
/** Of the run on stage: the reader's own, or the take that a step shows. */
const player = () => cast.main.player;
const stage = new Stage(required("#stage"), SCENES, { player, cast: () => cast, beforeFrame, reduced, timed });
const scroll = new ScrollBinding(article, () => {
  layoutChanged = true;
  stage.invalidate("view");
});

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
const nav = new RoomsNav(topbar, scroll.sections, [copy, embed]);
const link = new DeepLink({
  go,
  log: () => {
    const waits = cast.main === session && !["own", "missing"].includes(cast.view().main.status);
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
const notice = new Notice(optional("#notice"), () => session.start());
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
    const { runId } = session;
    const recording = (runId === null ? null : config.runs[runId]) ?? config.recording;
    return { runId, own: own.has(runId), recording, slug, room, moment, time: player().t };
  },
  deleted: () => {
    rememberRun(null);
    addressed = null;
    void openPage(null);
  },
});
tools.add("open-file", t("Open a log from a file"), () => opening.choose());
tools.add("compare", t("Compare with another run"), () => void compare(null));
tools.add("picture", t("Save a picture of this room"), () => void savePicture());
const closeFile = tools.add("close-file", t("Close the file"), () => void openPage(null));
const answerChapter = required("#answer").closest(".chapter")?.id;
const describe = seldom(500, () => {
  if (caption && stage.scene) say(caption, stage.scene.describe(player().state, stage.view, cast.states()));
});

bindCopy(copy, () => {
  // A moment of a file is none of what another reader would find at the address.
  const time = session.source.kind === "opened" ? null : player().t;
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
if (config.kitchen) bindPrompt(/** @type {HTMLFormElement} */ (required("#prompt-form")), { run: open, stop });
document.addEventListener("htmx:afterSwap", () => numbers.refresh());
document.addEventListener("htmx:after:swap", () => numbers.refresh());
addEventListener("popstate", () => {
  const runId = runOfAddress();
  if (runId === addressed) return; // a link within the page
  addressed = runId;
  if (optional(".run-status")?.dataset.run !== runId) optional("#prompt-status")?.replaceChildren();
  void openPage(runId);
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
  return { room: section.id, title, run: session.runId, step: section.id === chapter ? step : 0, time: player().t };
}

/** @param {number} milliseconds */
function timed(milliseconds) {
  timings.push(milliseconds);
  if (timings.length > MOST_TIMINGS) timings.splice(0, MOST_TIMINGS / 2);
}

/** Another hand than the scroll's set the playhead: small scrolls leave it there. */
function gesture() {
  heldAt = scroll.y;
  stage.invalidate("playhead");
}

/**
 * Scroll to a step of a room.
 * @param {string} slug
 * @param {number} step
 * @param {boolean} [again] the layout has moved since: stay with it, unless the reader walked on, and at this moment
 */
function go(slug, step, again = false) {
  if (again) scroll.measure();
  const top = scroll.topOf(slug, step);
  if (top === null || (again && Math.abs(top - scrollY) > innerHeight / 2)) return false;
  scrollTo({ top, behavior: "instant" });
  scroll.measure();
  if (again && heldAt !== Number.NEGATIVE_INFINITY) heldAt = scroll.y;
  if (!again) {
    heldAt = Number.NEGATIVE_INFINITY;
    scroll.gesture = true;
  }
  layoutChanged = true;
  stage.invalidate("view");
  return true;
}

/** The scroll sets chapter and step, and by a real gesture the playhead. */
function beforeFrame() {
  if (!layoutChanged) return;
  layoutChanged = false;
  const place = scroll.place();
  if (!place) return;
  if (place.chapter !== stage.view.chapter) {
    stage.prepare(place.chapter);
    casting.approach(scroll.chapters.find(({ slug }) => slug === place.chapter)?.steps.map((step) => step.cast) ?? []);
  }
  stage.setPlace(place);
  scroll.mark(place);
  casting.enter(place.cast);
  nav.update(place);
  if (scroll.gesture && Math.abs(scroll.y - heldAt) >= SCROLL_TAKES_OVER) {
    heldAt = Number.NEGATIVE_INFINITY;
    follow(place);
  }
  scroll.gesture = false;
  link.arrived();
}

/**
 * Set the playhead where a place of the article says.
 * @param {import("./ui/scroll.js").Place | null} place
 */
function follow(place) {
  const { log } = player();
  const found = place && momentOf(place, (name) => cast.moment(name));
  if (found && log.seq > 0) player().scroll(found);
}

/** Another run has the main role: its words and its strip take the place of the last one's. */
function recast() {
  ribbon.clear();
  tooltip.hide();
  if (heldAt === Number.NEGATIVE_INFINITY) follow(scroll.place());
  else if (player() !== session.player && player().seq === 0) player().live();
  stage.invalidate("run");
}

/** @param {import("./log/takes.js").Take} take its log grew, or it stands otherwise */
function takeChanged(take) {
  // Where the scroll holds the playhead, its moment may lie elsewhere now: a race ends with its slowest lane.
  if (cast.sessions.includes(take.session) && heldAt === Number.NEGATIVE_INFINITY) follow(scroll.place());
  link.arrived();
  stage.invalidate("log");
}

/** @param {"log" | "status"} what */
function changed(what) {
  const { source, status, log } = session;
  if (what === "status" && source.kind === "run" && status.state === "not-found" && log.seq === 0) {
    showRecording(true);
    return;
  }
  const unknown = unknownRun ? noticeOf(null, { state: "not-found" }) : null;
  notice.show(noticeOf(log.closed, status, source.kind === "recording") ?? unknown);
  const stoppable = session.player.growing && own.has(session.runId);
  for (const button of stopButtons) button.hidden = !stoppable;
  shareable(source.kind, log.closed !== null && own.has(session.runId));
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
  if (what.playhead || what.run) {
    ribbon.update(state);
    hear();
  }
  if ((what.playhead || what.run || what.scene) && frame.view.chapter === answerChapter) {
    if (answer.update(state) && state.request.firstTokenAt !== null) markFirstToken();
  }
  if (what.playhead || what.run || what.scene || what.view || what.log) {
    const rules = stage.scene?.facts ?? {};
    numbers.update({ state: session.player.state, chapter: frame.view.chapter, rules, runs: cast.runs() });
    describe();
    table.update();
  }
});

/** The frame that holds the reader's first token is on its way to the screen. */
function markFirstToken() {
  if (session.source.kind !== "run" || !performance.getEntriesByName("run:enter").length) return;
  if (performance.getEntriesByName("run:first-token-painted").length) return;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => performance.mark("run:first-token-painted");
  channel.port2.postMessage(null);
}

/**
 * Put another run on stage.
 * @param {Source} source
 */
function bind(source) {
  session.stop();
  if (session.log.seq > 0) before = session.source;
  session = new Session(source, changed);
  answer.clear();
  ribbon.clear();
  live.clear();
  tooltip.hide();
  session.player.open({ still: reduced() });
  heldAt = scroll.y;
  casting.clear();
  stage.rebind();
  session.start();
  changed("status");
  document.documentElement.dataset.run = source.kind === "recording" ? "recorded" : "own";
  closeFile.hidden = source.kind !== "opened";
  const where = optional("[data-source]");
  if (where) say(where, whose());
}

/** Whose run is on stage, in words. */
function whose() {
  const { source } = session;
  if (source.kind === "opened") return t("Opened from a file: {name}", { name: source.file.name });
  if (source.kind === "recording") return t("A recorded run");
  return own.has(session.runId) ? t("Your run") : t("Somebody's run");
}

/** @param {string} path relative to the page */
const absolute = (path) => new URL(path, document.baseURI).href;

/** @typedef {{ run_id: string, socket_url: string, events_url: string }} NewRun */

/** @param {NewRun} run just accepted @returns {Source} */
function sourceOf({ run_id: runId, socket_url: socket, events_url: events }) {
  return { kind: "run", runId, socketUrl: socketUrl(socket), eventsUrl: absolute(events), closed: false };
}

/** @param {NewRun} run */
function open({ run_id: runId, socket_url: socket, events_url: events }) {
  asked += 1;
  unknownRun = false;
  own.add(runId);
  rememberRun(runId);
  addressed = runId;
  bind(sourceOf({ run_id: runId, socket_url: socket, events_url: events }));
  // The answer takes the place of the title: the top of the page shows it. Who has walked on is left where they are.
  if (stage.view.chapter === answerChapter) scrollTo(0, 0);
}

/**
 * A run out of a file takes the stage. The address knows nothing of it: a reload brings back what it names.
 * @param {import("./log/opened_file.js").Opened} file
 * @returns {import("./ui/opening.js").Offer[]}
 */
function openFile(file) {
  asked += 1;
  unknownRun = false;
  rememberRun(null);
  addressed = null;
  required("#prompt-status").replaceChildren();
  bind({ kind: "opened", file });
  if (stage.view.chapter === answerChapter) scrollTo(0, 0);
  if (before === null) return [];
  return [{ words: t("Compare it with the run before"), act: () => void compare("(before)") }];
}

/**
 * Two runs under one clock, in a room of its own at the end of the article.
 * @param {string | import("./log/opened_file.js").Opened | null} other a recording's name or a run's id, or a file; null:
 *   what is at hand
 * @param {boolean} [walk] take the reader there
 */
async function compare(other, walk = true) {
  const recordings = Object.fromEntries(
    Object.entries({ [config.recording.replace(/^.*\/|\.jsonl\.gz$/g, "")]: config.recording, ...config.takes }).map(
      ([name, path]) => [name, absolute(path)],
    ),
  );
  comparing ??= import("./ui/comparing.js").then(
    ({ Comparing }) =>
      new Comparing({
        recordings,
        run: (runId) => findRun(runId, urlsOf(runId)),
        before: () => before,
        bring: (source, words) => casting.takes.bring("with", source, words),
        choose: () => opening.choose((file) => void compare(file)),
        arrive: (section) => {
          nav.add(section);
          scroll.measure();
          numbers.refresh();
        },
      }),
  );
  const room = await comparing;
  if (walk) go("compare", 0);
  if (typeof other === "object" && other) room.withFile(other);
  else if (other) await room.with(other);
  else if (!casting.takes.get("with")?.session) await room.withWhatIsAtHand(session.source.kind === "recording");
  else room.list();
}

/** The room on stage as a file, with what it shows and whose run it is below it. */
async function savePicture() {
  const { creditOf, pictureOf, save } = await import("./ui/picture.js");
  const { chapter: slug, step } = stage.view;
  const title = optional(`#${CSS.escape(slug)} :is(h1, h2)`)?.textContent?.trim() ?? "";
  const address = new URL(document.baseURI);
  // A run's address is the key to read it: not for everybody who sees the picture.
  const open = session.source.kind === "recording";
  address.search = "";
  const beside = new URL(location.href).searchParams.get("with") ?? "";
  if (open && Object.hasOwn(config.takes, beside)) address.searchParams.set("with", beside);
  address.hash = open ? linkTo({ slug, time: player().t, step }) : slug;
  const guest = casting.takes.get("with")?.session;
  const credits = [...new Set([cast.main, ...cast.sessions])].map((run) =>
    creditOf(
      (run ?? session).player.state,
      run === session ? whose() : run === guest ? t("Beside it") : t("A take of it"),
    ),
  );
  const words = stage.scene?.describe(player().state, stage.view, cast.states()) ?? "";
  save(await pictureOf(stage, { title, words, credits, address: address.href }), `open-kitchen-${slug}.png`);
}

/** @param {string} path */
function socketUrl(path) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

async function stop() {
  if (session.runId === null || (await stopRun(session.runId))) return;
  live.say(t("This run is not yours to stop."));
}

/**
 * What the address asks for: a run of the app's, or the recording.
 * @param {string | null} runId
 */
async function openPage(runId) {
  asked += 1;
  const mine = asked;
  if (runId === null) {
    // The server left the run of the address out: it does not know it.
    showRecording(new URL(location.href).searchParams.has("run"));
    return;
  }
  if (!config.kitchen) {
    const log = Object.hasOwn(config.runs, runId) ? config.runs[runId] : null;
    if (log === null) showRecording(true);
    else bind({ kind: "run", runId, socketUrl: "", eventsUrl: absolute(log), closed: true });
    return;
  }
  const source = await findRun(runId, urlsOf(runId));
  if (mine !== asked) return;
  if (source === null) {
    showRecording(true);
    return;
  }
  unknownRun = false;
  bind(source);
}

/** @param {string} runId */
function urlsOf(runId) {
  const base = `api/runs/${encodeURIComponent(runId)}`;
  return { summary: absolute(base), socket: socketUrl(`${base}/socket`), events: absolute(`${base}/events`) };
}

/** @param {boolean} unknown it plays in the place of a run that nobody knows */
function showRecording(unknown) {
  unknownRun = unknown;
  bind({ kind: "recording", url: absolute(config.recording) });
}

offerInspection({ cast, stage, session: () => session }, { timings });

const idle = globalThis.requestIdleCallback ?? ((/** @type {() => void} */ run) => setTimeout(run, 500));
idle(() => stage.prepare(stage.view.chapter));
void openPage(config.kitchen ? config.run_id : runOfAddress());
const other = new URL(location.href).searchParams.get("with");
if (other) void compare(other, !location.hash);
link.follow();
