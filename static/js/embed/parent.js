// What a room in a frame tells the page around it: how high it would like to be. It tells nothing else and listens to
// nothing, so there is nothing to trust (docs/embedding.md; embed_host.js is the other side).

/** @param {(height: number) => void} told */
const once = (told) => {
  let last = 0;
  return (/** @type {number} */ height) => {
    if (height === last) return;
    last = height;
    told(height);
  };
};

/**
 * How high the stage would like to be, by the width of the frame alone: a height that came back as the frame's own would
 * else ask for another one.
 * @param {number} width CSS pixels
 * @param {boolean} narrow the words lie under the picture
 */
export function stageHeight(width, narrow) {
  const share = narrow ? 0.62 * width : 0.6 * width;
  return Math.round(Math.min(narrow ? 480 : 760, Math.max(narrow ? 388 : 600, share)));
}

/**
 * Tell the page around this one its height now and whenever it changes.
 * @param {() => number} height
 * @param {Element[]} parts whose sizes it depends on
 */
export function tellHeight(height, parts) {
  if (parent === window) return;
  const tell = once((value) => parent.postMessage({ type: "openkitchen:resize", height: value }, "*"));
  const observer = new ResizeObserver(() => tell(height()));
  for (const part of parts) observer.observe(part);
}
