// For pages that hold rooms of Open Kitchen in frames: gives each frame the height that its room asks for.
//
//   <script src="https://KITCHEN/static/js/embed_host.js" async></script>
//
// It hears one message, `{ type: "openkitchen:resize", height }`, and only from a frame of this page whose address is a
// room beside this script, and whose origin is then the one that such a frame has: the room's own, or "null" where it
// is sandboxed. What a room may ask for is bounded. No module, so that it may come from anywhere (docs/embedding.md).

{
  const LOWEST = 240;
  const HIGHEST = 2000;
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const rooms = new URL("../../embed/", script.src);

  /** @param {HTMLIFrameElement} frame */
  const originOf = ({ sandbox, src }) =>
    sandbox.length > 0 && !sandbox.contains("allow-same-origin") ? "null" : new URL(src).origin;

  addEventListener("message", ({ data, origin, source }) => {
    if (data?.type !== "openkitchen:resize" || !Number.isFinite(data.height)) return;
    const frame = [...document.querySelectorAll("iframe")].find(({ contentWindow }) => contentWindow === source);
    if (!frame?.src.startsWith(rooms.href) || origin !== originOf(frame)) return;
    frame.style.height = `${Math.min(HIGHEST, Math.max(LOWEST, Math.ceil(data.height)))}px`;
  });
}
