// The pointer over the stage: a token dot or a thing in the room says what it is, and a click goes to its moment, or
// chooses it where it can be chosen.

/** @typedef {import("../stage/stage.js").Stage} Stage */
/** @typedef {import("../log/player.js").Player} Player */

/**
 * @param {Stage} stage
 * @param {{ player: () => Player, tooltip: import("./tooltip.js").Tooltip, seek: (seq: number) => void, choose: (values: Record<string, number | string>) => void }} host `choose`: values for the chapter's inputs
 */
export function bindPointer(stage, { player, tooltip, seek, choose }) {
  /** @param {PointerEvent | MouseEvent} event */
  const at = (event) => {
    const { left, top } = stage.root.getBoundingClientRect();
    return stage.hit(event.clientX - left, event.clientY - top, player().state);
  };
  stage.root.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const found = at(event);
    const beside = new DOMRect(event.clientX - 6, event.clientY - 6, 12, 12);
    const token = found.position >= 0 ? player().state.tokens[found.position] : undefined;
    if (stage.view.hover !== found.position) stage.setView({ hover: found.position });
    const { hit } = found;
    stage.root.style.cursor = token || hit?.set || (hit && hit.seq !== null) ? "pointer" : "";
    if (hit) tooltip.showText(hit.text, beside);
    else if (token) tooltip.showToken(token, beside);
    else tooltip.hide();
  });
  stage.root.addEventListener("pointerleave", () => {
    stage.setView({ hover: -1 });
    tooltip.hide();
  });
  stage.root.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("button, a, input, select, .stage-table")) return;
    const found = at(event);
    if (found.hit?.set) {
      choose(found.hit.set);
      return;
    }
    const seq = found.position >= 0 ? player().state.tokens[found.position]?.seq : found.hit?.seq;
    if (seq) seek(seq);
  });
}
