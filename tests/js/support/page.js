// As much of a document as small modules touch: elements with children, attributes and text.

export class FakeElement {
  constructor(tag = "") {
    this.tag = tag;
    this.children = [];
    this.attributes = {};
    this.own = "";
  }

  get textContent() {
    return this.own + this.children.map((child) => child.textContent).join("");
  }

  set textContent(text) {
    this.children = [];
    this.own = text;
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  append(...nodes) {
    for (const node of nodes) {
      const added = node.tag === "#fragment" ? node.children.splice(0) : [node];
      for (const child of added) child.parent = this;
      this.children.push(...added);
    }
  }

  remove() {
    this.parent.children.splice(this.parent.children.indexOf(this), 1);
  }

  replaceChildren(...nodes) {
    this.children = [];
    this.append(...nodes);
  }

  addEventListener() {}
}

/** Put the document in place for the modules under test. */
export function installDocument() {
  globalThis.document = {
    createElement: (tag) => new FakeElement(tag),
    createDocumentFragment: () => new FakeElement("#fragment"),
  };
}
