// A picture of cells, one texel a cell: painted into one ImageData that is kept, sent to its canvas by the columns that
// changed, and enlarged by CSS (`image-rendering: pixelated`). Nothing is sent where nothing changed. Without a canvas it
// is a texture, whose `words` another picture reads.

/** @typedef {(words: Uint32Array, columns: number, from: number, to: number) => void} Painter fills the columns `from <= column < to` of all rows; `words` has `columns` a row */

export class CellGrid {
  /** @param {HTMLCanvasElement | null} [canvas] */
  constructor(canvas = null) {
    this.canvas = canvas;
    this.columns = 0;
    this.rows = 0;
    /** Columns that stand painted under `#key`. */
    this.painted = 0;
    /** Texels sent since the beginning, for tests and timings. */
    this.uploaded = 0;
    this.#context = canvas?.getContext("2d") ?? null;
    if (canvas && !this.#context) throw new Error("no 2d context");
  }

  #context;
  #key = "";
  /** @type {ImageData | null} */
  #image = null;
  /** The cells, row by row, as packed RGBA (`palette.pack`); 0 where nothing is painted. Read, do not write. */
  words = new Uint32Array(0);

  /**
   * Give it room for `columns` by `rows` cells. What is painted is lost when either changes.
   * @param {number} columns
   * @param {number} rows
   */
  resize(columns, rows) {
    if (columns === this.columns && rows === this.rows) return;
    this.columns = columns;
    this.rows = rows;
    if (this.canvas) {
      this.canvas.width = Math.max(1, columns);
      this.canvas.height = Math.max(1, rows);
      this.#image = columns && rows ? new ImageData(columns, rows) : null;
    }
    this.words = this.#image ? new Uint32Array(this.#image.data.buffer) : new Uint32Array(columns * rows);
    this.painted = 0;
    this.#key = "";
  }

  /**
   * Paint the first `count` columns. Under the same `key` (whatever else the painter depends on: theme, scale, layer ...)
   * only columns beyond those that stand are painted; a smaller `count` clears the rest.
   * @param {number} count
   * @param {string} key
   * @param {Painter} painter
   */
  update(count, key, painter) {
    const wanted = Math.min(count, this.columns);
    if (key !== this.#key) {
      this.#key = key;
      this.#clear(wanted, this.painted);
      this.#paint(0, wanted, painter);
    } else if (wanted > this.painted) this.#paint(this.painted, wanted, painter);
    else if (wanted < this.painted) this.#clear(wanted, this.painted);
    this.painted = wanted;
  }

  /**
   * Paint the columns `from <= column < to` again, for a highlight that comes and goes.
   * @param {number} from
   * @param {number} to
   * @param {Painter} painter
   */
  repaint(from, to, painter) {
    this.#paint(Math.max(0, from), Math.min(to, this.painted), painter);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {Painter} painter
   */
  #paint(from, to, painter) {
    if (to <= from) return;
    painter(this.words, this.columns, from, to);
    this.#send(from, to);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #clear(from, to) {
    const { words } = this;
    if (to <= from) return;
    for (let row = 0; row < this.rows; row++) words.fill(0, row * this.columns + from, row * this.columns + to);
    this.#send(from, to);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #send(from, to) {
    if (!this.#image || !this.#context) return;
    this.#context.putImageData(this.#image, 0, 0, from, 0, to - from, this.rows);
    this.uploaded += (to - from) * this.rows;
  }
}
