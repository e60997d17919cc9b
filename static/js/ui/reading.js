// Where the reader is in the article, and whether their scroll holds the playhead: it sets room and step always, and the
// moment until another hand does, which small scrolls leave in peace.

import { momentOf, ScrollBinding } from "./scroll.js";

/** @typedef {import("./scroll.js").Place} Place */
/** @typedef {{ stage: import("../stage/stage.js").Stage, casting: import("./casting.js").Casting, went: (place: Place) => void }} Host `went`: in the frame after a scroll or a change of layout */

/** A scroll shorter than this, in pixels, does not take the playhead from another hand. */
const SCROLL_TAKES_OVER = 40;
/** The scroll holds the playhead itself. */
const NOWHERE = Number.NEGATIVE_INFINITY;

export class Reading {
  /** @param {HTMLElement} article @param {Host} host */
  constructor(article, host) {
    this.host = host;
    this.scroll = new ScrollBinding(article, () => this.#moved());
  }

  /** Where another hand took the playhead from the scroll. */
  #heldAt = scrollY;
  #layoutChanged = true;

  #moved() {
    this.#layoutChanged = true;
    this.host.stage.invalidate("view");
  }

  /** Another hand than the scroll's set the playhead: small scrolls leave it there. */
  gesture() {
    this.#heldAt = this.scroll.y;
    this.host.stage.invalidate("playhead");
  }

  /**
   * Scroll to a step of a room.
   * @param {string} slug
   * @param {number} step
   * @param {boolean} [again] the layout has moved since: stay with it, unless the reader walked on, and at this moment
   */
  go(slug, step, again = false) {
    const { scroll } = this;
    if (again) scroll.measure();
    const top = scroll.topOf(slug, step);
    if (top === null || (again && Math.abs(top - scrollY) > innerHeight / 2)) return false;
    scrollTo({ top, behavior: "instant" });
    scroll.measure();
    if (again && this.#heldAt !== NOWHERE) this.#heldAt = scroll.y;
    if (!again) {
      this.#heldAt = NOWHERE;
      scroll.gesture = true;
    }
    this.#moved();
    return true;
  }

  /** The scroll sets chapter and step, and by a real gesture the playhead. */
  beforeFrame() {
    if (!this.#layoutChanged) return;
    this.#layoutChanged = false;
    const { scroll } = this;
    const { stage, casting, went } = this.host;
    const place = scroll.place();
    if (!place) return;
    if (place.chapter !== stage.view.chapter) {
      stage.prepare(place.chapter);
      const steps = scroll.chapters.find(({ slug }) => slug === place.chapter)?.steps ?? [];
      casting.approach(steps.map((step) => step.cast));
    }
    stage.setPlace(place);
    scroll.mark(place);
    casting.enter(place.cast);
    if (scroll.gesture && Math.abs(scroll.y - this.#heldAt) >= SCROLL_TAKES_OVER) {
      this.#heldAt = NOWHERE;
      this.#follow(place);
    }
    scroll.gesture = false;
    went(place);
  }

  /** The moment of this place may lie elsewhere now. Returns whether the scroll holds the playhead. */
  again() {
    if (this.#heldAt !== NOWHERE) return false;
    this.#follow(this.scroll.place());
    return true;
  }

  /**
   * Set the playhead where a place of the article says.
   * @param {Place | null} place
   */
  #follow(place) {
    const { cast } = this.host.casting;
    const { log, player } = cast.main;
    const found = place && momentOf(place, (name) => cast.moment(name));
    if (found && log.seq > 0) player.scroll(found);
  }
}
