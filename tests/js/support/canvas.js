// As much of a canvas as rooms draw on: it refuses what a browser's would refuse, and keeps nothing.

/** A browser throws on these. */
function strict(name, args) {
  if (/Gradient$/.test(name) && !args.every(Number.isFinite)) throw new TypeError(`${name}(${args})`);
  if (name === "arc" && args[2] < 0) throw new RangeError(`arc with a radius of ${args[2]}`);
  if (name === "ellipse" && (args[2] < 0 || args[3] < 0)) throw new RangeError("ellipse with a radius below 0");
  if (name === "roundRect" && [args[4]].flat().some((radius) => radius < 0)) throw new RangeError("roundRect");
  if (name === "setLineDash" && !args[0].every((length) => length >= 0)) throw new TypeError("setLineDash");
}

/** The calls of one drawing may be bounded, so that a picture without an end is found. */
export const calls = { left: Number.POSITIVE_INFINITY };

function contextOf(canvas) {
  const image = (width, height) => {
    if (!(width >= 1 && height >= 1 && width * height < 2 ** 28)) throw new RangeError(`image of ${width} × ${height}`);
    return { width, height, data: new Uint8ClampedArray(4 * width * height) };
  };
  const own = {
    canvas,
    measureText: (text) => ({
      width: 7 * String(text).length,
      actualBoundingBoxAscent: 9,
      actualBoundingBoxDescent: 3,
    }),
    createImageData: image,
    getImageData: (_x, _y, width, height) => image(width, height),
    getLineDash: () => [],
    getTransform: () => ({ a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 }),
  };
  return new Proxy(own, {
    get(target, name) {
      if (name in target) return target[name];
      return (...args) => {
        calls.left -= 1;
        if (calls.left < 0) throw new Error("a picture without an end");
        strict(name, args);
        return /Gradient$|Pattern$/.test(name) ? { addColorStop: () => {}, setTransform: () => {} } : undefined;
      };
    },
  });
}

class Style {
  setProperty() {}
  removeProperty() {}
}

class Node {
  constructor(tag) {
    this.tagName = tag;
    this.children = [];
    this.style = new Style();
    this.dataset = {};
    this.attributes = {};
    this.classList = { add() {}, remove() {}, toggle() {}, contains: () => false };
    this.textContent = "";
    this.hidden = false;
    this.width = 300;
    this.height = 150;
    this.parentElement = null;
  }
  append(...nodes) {
    for (const node of nodes) {
      if (!(node instanceof Node)) continue;
      this.children.push(node);
      node.parentElement = this;
    }
  }
  prepend(...nodes) {
    this.append(...nodes);
  }
  appendChild(node) {
    this.append(node);
    return node;
  }
  replaceChildren(...nodes) {
    this.children = [];
    this.append(...nodes);
  }
  remove() {
    const at = this.parentElement?.children.indexOf(this) ?? -1;
    if (at >= 0) this.parentElement.children.splice(at, 1);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  hasAttribute(name) {
    return name in this.attributes;
  }
  removeAttribute(name) {
    delete this.attributes[name];
  }
  getContext() {
    this.context ??= contextOf(this);
    return this.context;
  }
  addEventListener() {}
  querySelector() {
    return null;
  }
  querySelectorAll() {
    return [];
  }
  getBoundingClientRect() {
    return { x: 0, y: 0, left: 0, top: 0, width: 100, height: 20, right: 100, bottom: 20 };
  }
  get firstElementChild() {
    return this.children[0] ?? null;
  }
  get childElementCount() {
    return this.children.length;
  }
  contains() {
    return false;
  }
}

/** Put a document in place in which rooms can be mounted. */
export function installStage() {
  globalThis.document = {
    createElement: (tag) => new Node(tag),
    createElementNS: (_, tag) => new Node(tag),
    createDocumentFragment: () => new Node("#fragment"),
    documentElement: new Node("html"),
    fonts: { addEventListener() {} },
    addEventListener() {},
  };
  globalThis.ImageData ??= class {
    constructor(...given) {
      const [data, width, height] = typeof given[0] === "number" ? [null, ...given] : given;
      Object.assign(this, { data: data ?? new Uint8ClampedArray(4 * width * height), width, height });
    }
  };
  globalThis.Path2D ??= class {
    addPath() {}
    arc() {}
    closePath() {}
    lineTo() {}
    moveTo() {}
    rect() {}
    roundRect() {}
  };
  globalThis.OffscreenCanvas ??= class extends Node {
    constructor(width, height) {
      super("canvas");
      Object.assign(this, { width, height });
    }
  };
  return (tag = "div") => new Node(tag);
}
