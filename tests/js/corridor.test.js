import assert from "node:assert/strict";
import { test } from "node:test";
import { Corridor } from "../../static/js/scenes/corridor.js";
import { cameraOf, cellAt } from "../../static/js/scenes/hall.js";
import { fullBleed, room } from "../../static/js/scenes/room.js";
import { CellGrid } from "../../static/js/stage/cell_grid.js";

globalThis.ImageData = class {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.data = new Uint8ClampedArray(4 * width * height);
  }
};

const ROWS = 90;
const LIGHT = {
  ground: [0, 0, 0],
  fog: 0,
  flash: { start: 0, stop: 0, alpha: 0, hue: [0, 0, 0] },
  frame: { alpha: 0, color: "#fff" },
};

/** A painter that asks for each cell. */
const byCell = (color) => (words, columns, from, to) => {
  for (let row = 0, line = 0; line < words.length; row++, line += columns)
    for (let column = from; column < to; column++) words[line + column] = color(column, row);
};

/** A corridor whose picture can be read: every texel tells its wall, place and row. */
function cast(camera, places, width, height, pixel) {
  let image = null;
  const context = { putImageData: (drawn) => (image = drawn) };
  const corridor = new Corridor({ getContext: () => context });
  const grid = (rows, color) => {
    const made = new CellGrid();
    made.resize(2 ** Math.ceil(Math.log2(Math.max(64, places))), rows);
    made.update(places, "key", byCell(color));
    return made;
  };
  const walls = [1, 2].map((wall) =>
    grid(ROWS, (place, row) => (0xff000000 | (wall << 20) | (place << 7) | row) >>> 0),
  );
  const floor = grid(28, () => 0xfff00000);
  corridor.draw(walls, floor, camera, LIGHT, { width, height, pixel });
  const words = new Uint32Array(image.data.buffer);
  return (x, y) => {
    const word = words[Math.floor(y / pixel) * image.width + Math.floor(x / pixel)];
    return { wall: (word >> 20) & 15, place: (word >> 7) & 0x1fff, row: word & 127 };
  };
}

test("what is drawn at a point is what the pointer finds there", () => {
  for (const [width, height, area] of [
    [1440, 900, room],
    [1440, 900, fullBleed],
    [390, 388, room],
    [390, 844, fullBleed],
    [1440, 300, room],
  ])
    for (const places of [1, 31, 150, 4096])
      for (const walk of [0, 0.5, 1])
        for (const pixel of [1, 3]) {
          const camera = cameraOf(area({ width, height }), places, walk, 11);
          const drawn = cast(camera, places, width, height, pixel);
          let seen = 0;
          let wrong = 0;
          for (let y = 0.5 * pixel; y < height; y += 5 * pixel)
            for (let x = 0.5 * pixel; x < width; x += 5 * pixel) {
              const hit = cellAt(camera, x, y);
              const { wall, place, row } = drawn(x, y);
              if (hit === null) {
                wrong += wall === 1 || wall === 2 ? 1 : 0;
                continue;
              }
              seen += 1;
              const right = wall === (hit.which === "keys" ? 1 : 2) && place === hit.place;
              if (!right || Math.abs(row - (1 - hit.height) * ROWS) > 1.5) wrong += 1;
            }
          assert.ok(
            wrong <= 0.01 * seen + 8,
            `${wrong} of ${seen} at ${width}x${height}, ${places}, ${walk}, ${pixel}`,
          );
        }
});
