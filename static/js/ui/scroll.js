// From the scroll position to a chapter, a step and a place between steps. Layout is measured when it changes and never
// in a frame; `locate` is a pure function of what was measured.
//
// A point of the window, the anchor, reads the article: `--scroll-anchor` on the root element, as a share of the
// window's height (on a phone it lies lower, under the stage). A step is on at its middle; between two middles the
// fraction holds, moves, and holds again, so that a step that is being read stands still.

/** @typedef {{ moment: string | null, cast?: string, data: Record<string, any>, top: number, bottom: number }} StepBox document pixels */
/** @typedef {{ slug: string, top: number, bottom: number, steps: StepBox[] }} ChapterBox */
/** @typedef {{ chapter: string, progress: number, step: number, stepProgress: number, data: Record<string, any>, cast: string, from: string | null, to: string | null }} Place `cast`: whose run is on stage; between two steps that show different runs no time passes, so `from` and `to` are then one */

/** @typedef {{ seq: number, reached: boolean, t?: number }} Moment `t`: its second, in a race, where time counts and not events */

const HOLD = 0.22;

/** @param {number} value */
const clamp = (value) => Math.min(1, Math.max(0, value));

/**
 * The part of the way from one step to the next on which something moves.
 * @param {number} fraction
 */
export const held = (fraction) => clamp((fraction - HOLD) / (1 - 2 * HOLD));

/**
 * Numbers between two steps' `data-view`; anything else is the nearer step's.
 * @param {Record<string, any>} from
 * @param {Record<string, any>} to
 * @param {number} amount
 */
export function blend(from, to, amount) {
  /** @type {Record<string, any>} */
  const result = { ...(amount < 0.5 ? from : to) };
  for (const key of Object.keys(from)) {
    const [a, b] = [from[key], to[key]];
    if (typeof a === "number" && typeof b === "number") result[key] = a + (b - a) * amount;
  }
  return result;
}

/**
 * A place between two steps of a chapter.
 * @param {ChapterBox} chapter
 * @param {number} before
 * @param {number} after
 * @param {number} fraction of the way, 0 to 1
 * @returns {Place}
 */
export function placeBetween({ slug, steps }, before, after, fraction) {
  const step = fraction < 0.5 ? before : after;
  const { cast = "", moment } = steps[step];
  const together = steps[before].cast === steps[after].cast;
  return {
    chapter: slug,
    progress: 0,
    step,
    stepProgress: fraction,
    data: blend(steps[before].data, steps[after].data, fraction),
    cast,
    from: together ? steps[before].moment : moment,
    to: together ? steps[after].moment : moment,
  };
}

/**
 * @param {ChapterBox[]} chapters in the order of the page
 * @param {number} y anchor, document pixels
 * @returns {Place | null} null where there is no chapter
 */
export function locate(chapters, y) {
  const chapter = chapters.findLast((box) => box.top <= y) ?? chapters[0];
  if (!chapter) return null;
  const progress = clamp((y - chapter.top) / Math.max(1, chapter.bottom - chapter.top));
  const { steps } = chapter;
  if (steps.length === 0)
    return { chapter: chapter.slug, progress, step: 0, stepProgress: 0, data: {}, cast: "", from: null, to: null };
  const middles = steps.map((step) => (step.top + step.bottom) / 2);
  const before = Math.max(
    0,
    middles.findLastIndex((middle) => middle <= y),
  );
  const after = Math.min(steps.length - 1, before + 1);
  const distance = middles[after] - middles[before];
  const fraction = held(distance > 0 ? (y - middles[before]) / distance : 0);
  return { ...placeBetween(chapter, before, after, fraction), progress };
}

/**
 * The moment of the log where a place stands: between the moments of two steps, or at the one that has one.
 * @param {Place} place
 * @param {(name: string) => Moment} resolve
 * @returns {Moment | null} null: the place does not say
 */
export function momentOf(place, resolve) {
  const { from, to, stepProgress } = place;
  if (from === null && to === null) return null;
  if (from === null || to === null) {
    const name = stepProgress < 0.5 ? from : to;
    return name === null ? null : resolve(name);
  }
  if (stepProgress === 0 || from === to) return resolve(from);
  if (stepProgress === 1) return resolve(to);
  const [a, b] = [resolve(from), resolve(to)];
  if (a.t !== undefined && b.t !== undefined)
    return { seq: a.seq, t: a.t + (b.t - a.t) * stepProgress, reached: a.reached && b.reached };
  return { seq: Math.round(a.seq + (b.seq - a.seq) * stepProgress), reached: a.reached && b.reached };
}

/** @param {HTMLElement} element */
function dataOf(element) {
  try {
    return JSON.parse(element.dataset.view ?? "{}");
  } catch {
    return {};
  }
}

/**
 * What a section says of itself and its steps, and where they lie.
 * @param {HTMLElement} section
 * @param {HTMLElement[]} steps
 * @param {number} scrolled
 * @returns {ChapterBox}
 */
export function boxOf(section, steps, scrolled) {
  /** @param {Element} element */
  const box = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return { top: top + scrolled, bottom: bottom + scrolled };
  };
  return {
    slug: section.dataset.scene ?? section.id,
    ...box(section),
    steps: steps.map((step) => ({
      moment: step.dataset.moment ?? null,
      cast: step.dataset.cast,
      data: dataOf(step),
      ...box(step),
    })),
  };
}

export class ScrollBinding {
  /**
   * @param {HTMLElement} article
   * @param {() => void} changed the reader scrolled, or the layout moved
   */
  constructor(article, changed) {
    this.article = article;
    /** @type {ChapterBox[]} */
    this.chapters = [];
    this.y = globalThis.scrollY;
    /** True from a scroll until `taken`: the reader's hand, not a change of layout. */
    this.gesture = false;
    /** @type {HTMLElement[]} */
    this.sections = [];
    addEventListener(
      "scroll",
      () => {
        if (scrollY === this.y) return;
        this.y = scrollY;
        this.gesture = true;
        changed();
      },
      { passive: true },
    );
    const observer = new ResizeObserver(() => {
      this.measure();
      changed();
    });
    observer.observe(article);
    observer.observe(document.documentElement);
    this.measure();
  }

  /** @type {HTMLElement[][]} */
  #elements = [];
  #anchor = 0;
  /** @type {HTMLElement | null} */
  #active = null;
  /** @type {HTMLElement | null} */
  #chapter = null;

  measure() {
    const scrolled = scrollY;
    this.y = scrolled;
    const share = Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--scroll-anchor"));
    this.#anchor = innerHeight * (Number.isFinite(share) ? share : 0.5);
    const sections = /** @type {HTMLElement[]} */ ([...this.article.querySelectorAll(".chapter[id]")]);
    this.#elements = sections.map((section) => [...section.querySelectorAll(".step")]).map((list) => list.map(asHtml));
    this.chapters = sections.map((section, i) => boxOf(section, this.#elements[i], scrolled));
    this.sections = sections;
  }

  /**
   * Where the window must stand for a step to be read, document pixels; null where there is no such chapter.
   * @param {string} slug
   * @param {number} step the nearest one there is
   */
  topOf(slug, step) {
    const chapter = this.chapters.find((box) => box.slug === slug);
    if (!chapter) return null;
    const { top, bottom } = chapter.steps[Math.min(step, chapter.steps.length - 1)] ?? chapter;
    return Math.max(0, (top + bottom) / 2 - this.#anchor);
  }

  /** Where the reader is now. */
  place() {
    return locate(this.chapters, this.y + this.#anchor);
  }

  /**
   * Light the active step. Writes only what changed.
   * @param {Place} place
   */
  mark(place) {
    const index = this.chapters.findIndex(({ slug }) => slug === place.chapter);
    const section = this.sections[index] ?? null;
    if (section !== this.#chapter) {
      this.#chapter?.classList.remove("is-active");
      section?.classList.add("is-active");
      this.#chapter = section;
      document.documentElement.dataset.chapter = place.chapter;
    }
    const step = this.#elements[index]?.[place.step] ?? null;
    if (step === this.#active) return;
    this.#active?.classList.remove("is-active");
    this.#active?.removeAttribute("aria-current");
    step?.classList.add("is-active");
    step?.setAttribute("aria-current", "step");
    this.#active = step;
  }
}

/** @param {Element} element */
const asHtml = (element) => /** @type {HTMLElement} */ (element);
