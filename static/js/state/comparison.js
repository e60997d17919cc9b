// What can be said of two runs side by side: of each alone, and of where their texts part.

import { fileOf } from "../log/from_file.js";
import { t } from "../ui/messages.js";
import { compare } from "./speculation.js";

/** @typedef {import("./types.d.ts").State} State */

/** Seconds since the run was given a seat; null before. @param {State} state */
export const elapsed = (state) => (state.request.admittedAt === null ? null : state.t - state.request.admittedAt);

/** Seconds from its seat to its first token; null before. @param {State} state */
export function firstToken({ request: { admittedAt, firstTokenAt } }) {
  return admittedAt === null || firstTokenAt === null ? null : firstTokenAt - admittedAt;
}

/** Tokens a second, from the first token to the newest; null where there are no two. @param {State} state */
export function rate(state) {
  const { firstTokenAt, lastTokenAt } = state.request;
  const seconds = firstTokenAt === null || lastTokenAt === null ? 0 : lastTokenAt - firstTokenAt;
  return seconds > 0 ? (written(state) - 1) / seconds : null;
}

/** Tokens written so far. @param {State} state */
export const written = ({ tokens, request }) => Math.max(0, tokens.length - request.numPromptTokens);

/** Steps that computed something for it. @param {State} state */
export const steps = (state) => state.steps.reduce((sum, { ownPhase }) => sum + (ownPhase === null ? 0 : 1), 0);

/** Blocks that it holds, or held when it let them go; null where its log tells of none. @param {State} state */
export function blocks({ cache, opened }) {
  const held = cache.blockTable.length || cache.lastTable.length;
  return held || opened?.provides.some((fact) => fact.startsWith("block")) ? held : null;
}

/**
 * Whether two runs were asked the same, and how far their answers agree.
 * @param {State} a
 * @param {State} b
 * @returns {{ samePrompt: boolean, common: number, parted: boolean }}
 */
export function agreement(a, b) {
  const [x, y] = [a, b].map(({ tokens, request }) => tokens.slice(0, request.numPromptTokens));
  const samePrompt = x.length === y.length && x.every(({ id }, i) => id === y[i].id);
  const { common, parted } = compare(a, b);
  return { samePrompt, common, parted };
}

/** What a run goes by in a picture of two. @param {State} state */
export function nameOf({ opened }) {
  const file = fileOf(opened);
  if (file !== null) return file;
  if (opened?.take) return t("take “{take}”", { take: opened.take });
  return opened?.source === "recorded" ? t("a recorded run") : t("a run of this kitchen");
}

/** Where it was made. @param {State} state */
export function whereOf({ opened }) {
  const day = opened ? new Date(opened.opened_at * 1000).toISOString().slice(0, 10) : "";
  return [opened?.model?.name, opened?.model?.quantization, opened?.hardware?.name, day].filter(Boolean).join(" · ");
}
