// Small elements, text always through `textContent`: a token may spell `<script>`.

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{ class?: string, text?: string, [attribute: string]: string | undefined }} [attributes]
 * @param {(Node | string)[]} [children]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/**
 * Set the text of a node if it says something else now.
 * @param {Node} node
 * @param {string} text
 */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Run `work` at most every `ms` milliseconds, the last call never lost.
 * @template {unknown[]} A
 * @param {number} ms
 * @param {(...args: A) => void} work
 * @returns {(...args: A) => void}
 */
export function seldom(ms, work) {
  let last = Number.NEGATIVE_INFINITY;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  /** @type {A} */
  let latest;
  const run = () => {
    timer = null;
    last = performance.now();
    work(...latest);
  };
  return (...args) => {
    latest = args;
    if (timer !== null) return;
    const wait = last + ms - performance.now();
    if (wait <= 0) run();
    else timer = setTimeout(run, wait);
  };
}

/**
 * What localStorage holds, null where it may not be used.
 * @param {string} key
 */
export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string | null} value null forgets
 */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // A page without storage (a sandboxed frame) forgets; nothing else depends on it.
  }
}
