/** An investigation as it stands after some of its events; the same picture as `aetia.report.scene`. */

import { duration, number, percent, plain } from "../lib/format.js";
import { claim, headline } from "../lib/words.js";

/**
 * @typedef {{name: string, first: number, belief: number, state: string, reason: string, evidence: string[],
 *   course: Array<[number, number]>}} Standing `course` are (event, belief)
 * @typedef {{at: number, s: number, kind: string, agent: string, what: string, why: string, answer: string, failed: boolean,
 *   evidence: string | null, seconds: number}} Line one line of the log; `at` is the index of its event
 * @typedef {{policy: string, headline: string, at_s: number, deadline_s: number, calls: number, max_calls: number,
 *   tokens: number, standings: Standing[], log: Line[], waiting: number, excluded: string[], outcome: string, reason: string,
 *   question: string}} Scene
 */

/** @param {any[]} events of the journal @param {number} [upto] how many of them @returns {Scene} */
export function sceneOf(events, upto = events.length) {
  /** @type {Scene} */
  const scene = { policy: "", headline: "", at_s: 0, deadline_s: 0, calls: 0, max_calls: 0, tokens: 0, standings: [], log: [], waiting: 0, excluded: [], outcome: "", reason: "", question: "" };
  /** @type {Map<string, Standing>} */
  const held = new Map();
  /** @type {Map<number, Line>} */
  const waiting = new Map();
  for (const [index, event] of events.slice(0, upto).entries()) take(scene, held, waiting, event, index);
  scene.waiting = waiting.size;
  scene.standings = ranked(held, scene.excluded);
  return scene;
}

/** @param {Map<string, Standing>} held @param {string[]} excluded */
function ranked(held, excluded) {
  const kept = [...held.values()].filter((item) => !excluded.includes(item.name));
  const total = Math.max(kept.reduce((sum, item) => sum + item.belief, 0), 1);
  return kept.map((item) => ({ ...item, first: item.first / total, belief: item.belief / total })).sort((a, b) => b.belief - a.belief);
}

/** @param {Scene} scene @param {Map<string, Standing>} held @param {Map<number, Line>} waiting @param {any} event @param {number} at */
function take(scene, held, waiting, event, at) {
  scene.at_s = Math.max(scene.at_s, event.at_s ?? 0);
  const line = (/** @type {Partial<Line>} */ more) => {
    /** @type {Line} */
    const made = { at, s: event.at_s ?? 0, kind: event.type, agent: plain(event.agent ?? "", 40), what: "", why: "", answer: "", failed: false, evidence: null, seconds: 0, ...more };
    scene.log.push(made);
    return made;
  };
  if (event.type === "opened") {
    Object.assign(scene, { policy: event.policy, headline: headline(event.prior), deadline_s: event.deadline_s, max_calls: event.max_calls, question: plain(event.question, 300) });
    line({ what: "The investigation begins", answer: `first impression: ${headline(event.prior)}` });
  } else if (event.type === "asked") {
    scene.calls += 1;
    waiting.set(event.number, line({ kind: "asked", agent: plain(event.request.agent, 40), what: asked(event.request), why: plain(event.request.why ?? "", 200) }));
  } else if (event.type === "answered") {
    const question = waiting.get(event.number);
    waiting.delete(event.number);
    scene.tokens += (event.answer.tokens_in ?? 0) + (event.answer.tokens_out ?? 0);
    if (question) Object.assign(question, { answer: said(event.answer), failed: Boolean(event.answer.error), evidence: event.answer.evidence?.id ?? null, seconds: event.answer.seconds ?? 0 });
  } else if (event.type === "believed") {
    believe(held, event, at, line);
  } else if (event.type === "traced") {
    const sign = (/** @type {boolean | null} */ value) => (value === null ? "not seen" : value ? "agrees" : "contradicts");
    line({ what: `${plain(event.source, 60)} → ${plain(event.target, 60)}`, why: "does the path hold?", answer: `time ${sign(event.in_time)}, direction ${sign(event.in_direction)}${event.reason ? `: ${plain(event.reason, 200)}` : ""}`, failed: event.in_time === false || event.in_direction === false, evidence: event.evidence });
  } else if (event.type === "warned") {
    line({ what: `Check ${plain(event.check, 20)}`, answer: `${plain(event.text, 300)}${event.stopped ? "; it ended the investigation" : ""}`, failed: true });
  } else if (event.type === "steered") {
    const { wish, entity } = event.steer;
    if (wish === "exclude") scene.excluded.push(entity);
    line({ what: `A person: ${wish.replaceAll("_", " ")}${entity ? ` ${plain(entity, 80)}` : ""}` });
  } else if (event.type === "closed") {
    Object.assign(scene, { outcome: event.outcome, headline: headline(event.diagnosis), reason: plain(event.reason, 300), calls: event.calls, tokens: event.tokens });
    waiting.clear();
    line({ what: `The investigation ends: ${event.outcome}`, answer: headline(event.diagnosis), why: plain(event.reason, 200) });
  }
}

/** @param {Map<string, Standing>} held @param {any} event @param {number} at @param {(more: Partial<Line>) => Line} line */
function believe(held, event, at, line) {
  const old = held.get(event.entity);
  held.set(event.entity, {
    name: event.entity, first: old?.first ?? event.before, belief: event.after, state: event.state, reason: plain(event.reason, 240), evidence: event.because,
    course: [...(old?.course ?? [[at, event.before]]), [at, event.after]],
  });
  if (old === undefined && event.state === "proposed") return;
  const moved = Math.abs(event.after - event.before) > 0.0005;
  line({ what: `${plain(event.entity, 80)} ${moved ? `${event.after > event.before ? "rises" : "falls"} from ${percent(event.before)} to ${percent(event.after)}` : `is ${event.state}`}`, answer: plain(event.reason, 240), failed: event.state === "refuted", evidence: event.because[0] ?? null });
}

/** @param {any} request */
function asked(request) {
  if (request.type === "approval") return `asks for leave: ${plain(request.question, 200)}`;
  if (request.type === "model") return `asks a language model (${request.messages.length} messages)`;
  const args = Object.entries(request.args ?? {}).map(([key, value]) => `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return plain(`${request.tool.replaceAll("_", " ")} ${args.join(", ")}`, 240);
}

/** @param {any} answer */
function said(answer) {
  if (answer.type === "approval") return answer.granted ? "granted" : "denied";
  if (answer.error) return `failed: ${plain(answer.error.message, 240)}`;
  if (answer.type === "model") return `${number((answer.tokens_in ?? 0) + (answer.tokens_out ?? 0))} tokens in ${duration((answer.seconds ?? 0) * 1e9)}`;
  if (answer.evidence) return claim(answer.evidence);
  return answer.rows?.length ? `${answer.rows.length} rows${answer.truncated ? ", cut" : ""}` : "nothing found";
}
