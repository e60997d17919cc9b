// The way to the comparison of two runs, which comes when it is asked for: by a line of the menu, by a file, or by the
// address (`&with=NAME`), whichever way the reader walks through their history.

import { findRun } from "../log/find.js";
import { absolute, addressed, urlsOf } from "./addresses.js";

/** @typedef {import("./comparing.js").Comparing} Comparing */
/** @typedef {import("../log/opened_file.js").Opened} Opened */
/** @typedef {{ recordings: Record<string, string>, run: import("./run_on_stage.js").RunOnStage, casting: import("./casting.js").Casting, opening: import("./opening.js").Opening, arrive: (section: HTMLElement) => void, go: () => void }} Host `recordings`: by their names, the page's own first; `go`: take the reader to the room */

export class Beside {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  /** The room at the end of the article, once somebody compares. @type {Promise<Comparing> | null} */
  #room = null;

  /** The run beside the one on stage. */
  get session() {
    return this.host.casting.takes.get("with")?.session ?? null;
  }

  /**
   * Two runs under one clock, in a room of its own at the end of the article.
   * @param {string | Opened | null} other a recording's name or a run's id, or a file; null: what is at hand
   * @param {boolean} [walk] take the reader there
   */
  async compare(other, walk = true) {
    const room = await this.#open();
    if (walk) this.host.go();
    if (typeof other === "object" && other) room.withFile(other);
    else if (other) await room.with(other);
    else if (!this.session) await room.withWhatIsAtHand(this.host.run.session.source.kind === "recording");
    else room.list();
  }

  /** The address may name another run beside the one on stage, or none any more. @param {boolean} [walk] */
  async follow(walk = false) {
    const name = addressed("with");
    if (this.#room) await (await this.#room).follow(name ?? "");
    else if (name) await this.compare(name, walk);
  }

  #open() {
    const { recordings, run, casting, opening, arrive } = this.host;
    this.#room ??= import("./comparing.js").then(
      ({ Comparing }) =>
        new Comparing({
          recordings: Object.fromEntries(Object.entries(recordings).map(([name, path]) => [name, absolute(path)])),
          run: (runId) => findRun(runId, urlsOf(runId)),
          before: () => run.before,
          bring: (source, words) => casting.takes.bring("with", source, words),
          choose: () => opening.choose((file) => void this.compare(file)),
          arrive,
        }),
    );
    return this.#room;
  }
}
