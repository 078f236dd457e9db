/** The investigation: hypotheses as they rise and fall, questions and answers; live, and replayed afterwards. */

import { post } from "../lib/api.js";
import { computed, each, effect, h, onEnd, signal, svg } from "../lib/dom.js";
import { clock, duration, ms, percent, plain, plural } from "../lib/format.js";
import { mayWrite } from "../shell.js";
import { icon } from "../components/icon.js";
import { attempt } from "../components/overlay.js";
import { kept } from "./data.js";
import { nothing, titled } from "./page.js";
import { sceneOf } from "./scene.js";

/** @typedef {import("./data.js").Data} Data */
const SHOWN = 8;

/** @param {Data} data */
export function investigation(data) {
  const upto = kept(data, "investigation.upto", /** @type {number | null} */ (null)); // null follows the end
  const scene = computed(() => sceneOf(data.events.value, upto.value ?? data.events.value.length));
  const total = () => data.events.value.length;
  return [
    titled("investigation", "Investigation", h("span.small.soft", {}, () => standing(scene.value, data)), () => (mayWrite.value ? steering(data) : null)),
    () => wishes(data),
    () => {
      if (total() === 0) return nothing(data.diagnosis.value ? "This answer was given without an investigation" : "No investigation yet");
      return h("div.investigation", {}, h("div.hypotheses", {}, () => (moved(data.events.value) ? beliefs(scene, total) : null), hypotheses(scene, data)), h("div.inquiry", {}, replay(upto, total), log(scene)));
    },
  ];
}

/** @param {import("./scene.js").Scene} scene @param {Data} data */
function standing(scene, data) {
  if (data.events.value.length === 0) return "";
  const spent = [`${plural(scene.calls, "question")}${scene.max_calls ? ` of ${scene.max_calls}` : ""}`, duration(scene.at_s * 1e9), scene.tokens ? `${scene.tokens} tokens` : ""];
  return `${scene.policy ? `${plain(scene.policy, 30)}: ` : ""}${spent.filter(Boolean).join(" · ")}${scene.outcome ? ` · ${scene.outcome}` : data.busy.value ? " · under way" : ""}`;
}

/** @param {Data} data */
function steering(data) {
  const names = () => (data.exhibits.value.graph?.nodes ?? []).map((node) => node.name);
  const field = h("input.field", { list: "steer-names", placeholder: "Look at a component", "aria-label": "Component to look at" });
  const look = (/** @type {Event} */ event) => {
    event.preventDefault();
    const entity = field.value.trim();
    if (entity) void steer(data, "look_at", entity).then((done) => done && (field.value = ""));
  };
  return h(
    "form.row.steer",
    { onsubmit: look },
    field,
    h("datalist", { id: "steer-names" }, () => names().map((name) => h("option", { value: name }))),
    h("button.button.slim", { type: "submit" }, icon("eye"), "Look at"),
    () => (data.busy.value ? h("button.button.slim.danger", { type: "button", onclick: () => steer(data, "stop") }, icon("stop"), "Stop") : null),
  );
}

/** @param {Data} data @param {"exclude" | "look_at" | "stop"} wish @param {string} [entity] */
async function steer(data, wish, entity = "") {
  data.watch();
  const words = { exclude: `${entity} is left out`, look_at: `${entity} is looked at`, stop: "Told to stop" };
  const done = await attempt(() => post(`incidents/${encodeURIComponent(data.id)}/steer`, { wish, entity }), words[wish]);
  if (done && wish !== "stop") await data.askWishes();
  return done;
}

/** What people wished, and the way back. @param {Data} data */
function wishes(data) {
  if (data.wishes.value.length === 0) return null;
  const words = { exclude: "left out", look_at: "looked at" };
  return h(
    "ul.chips.wishes",
    { "aria-label": "Wishes of people" },
    data.wishes.value.map((wish) =>
      h("li.chip", { title: `${wish.by ? `${plain(wish.by, 60)}, ` : ""}${clock(ms(wish.at_ns))}` },
        h("span.words", {}, icon(wish.wish === "exclude" ? "ban" : "eye"), h("b", {}, plain(wish.entity, 80)), ` is ${words[wish.wish]}`),
        mayWrite.value ? h("button.off", { "aria-label": `Take back: ${plain(wish.entity, 80)} is ${words[wish.wish]}`, title: "Take back; a new investigation begins", onclick: () => withdraw(data, wish) }, icon("close")) : null)),
  );
}

/** @param {Data} data @param {import("../lib/types.js").Wish} wish */
async function withdraw(data, wish) {
  data.watch();
  const done = await attempt(() => post(`incidents/${encodeURIComponent(data.id)}/wishes/${wish.number}`, undefined, undefined, "DELETE"), "Taken back; a new investigation begins");
  if (done) await data.askWishes();
}

/** Whether any belief rose or fell; verdicts alone draw no line worth looking at. @param {any[]} events */
const moved = (events) => events.some((event) => event.type === "believed" && Math.abs(event.after - event.before) > 0.005);

const TONES = ["--hot-solid", "--cool", "--change", "--minor-solid", "--good-solid", "--quiet"];

/** Beliefs by event, as lines. @param {import("../lib/dom.js").Signal<import("./scene.js").Scene>} scene @param {() => number} total */
function beliefs(scene, total) {
  const [width, height] = [560, 112];
  return h("figure.beliefs", {}, () => {
    const lines = scene.value.standings.slice(0, TONES.length).filter((item) => item.belief >= 0.005 || item.first >= 0.005);
    const last = Math.max(total() - 1, 1);
    const x = (/** @type {number} */ at) => ((at / last) * width).toFixed(1);
    const y = (/** @type {number} */ belief) => (height - 6 - Math.min(belief, 1) * (height - 12)).toFixed(1);
    const end = (/** @type {import("./scene.js").Standing} */ item) => x(Math.max(item.course.at(-1)?.[0] ?? 0, scene.value.outcome ? last : 0));
    const words = lines.map((item) => `${plain(item.name, 60)} from ${percent(item.first)} to ${percent(item.belief)}`).join("; ");
    return svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `Beliefs over the investigation: ${words || "none"}` },
      [0, 0.5, 1].map((share) => svg("line.grid", { x1: 0, x2: width, y1: y(share), y2: y(share) })),
      lines.map((item, index) => {
        const path = item.course.map(([at, belief], step) => `${step ? `H${x(at)}V${y(belief)}` : `M${x(at)} ${y(belief)}`}`).join("");
        return svg("path.belief", { d: `${path}H${end(item)}`, style: { stroke: `var(${TONES[index]})` } });
      }),
    );
  });
}

/** @param {import("../lib/dom.js").Signal<import("./scene.js").Scene>} scene @param {Data} data */
function hypotheses(scene, data) {
  const all = signal(false);
  const list = each(
    () => scene.value.standings.slice(0, all.value ? 100 : SHOWN),
    (item) => item.name,
    (item, index) =>
      h(
        "li",
        { class: () => item.value.state },
        h("i.tone", { style: () => ({ background: index.value < TONES.length && (item.value.belief >= 0.005 || item.value.first >= 0.005) ? `var(${TONES[index.value]})` : "transparent" }) }),
        h("span.name", { title: () => plain(item.value.reason, 240) }, () => plain(item.value.name, 80)),
        h("span.verdict", {}, () => (item.value.state === "proposed" ? "" : item.value.state)),
        h("span.bar", {}, h("i", { style: () => ({ "--share": String(item.value.belief) }) })),
        h("span.num", {}, () => percent(item.value.belief)),
        () =>
          mayWrite.value
            ? h(
                "span.tools",
                {},
                h("button.button.slim.bare.square", { "aria-label": () => `Look at ${plain(item.value.name, 80)}`, title: "Look at it", onclick: () => steer(data, "look_at", item.peek().name) }, icon("eye")),
                h("button.button.slim.bare.square", { "aria-label": () => `Leave out ${plain(item.value.name, 80)}`, title: "It is not this one: leave it out", onclick: () => steer(data, "exclude", item.peek().name) }, icon("ban")),
              )
            : null,
      ),
    h("ol.standings", { "aria-label": "Hypotheses, most believed first" }),
  );
  return [
    list,
    () => (scene.value.standings.length > SHOWN ? h("button.button.slim.bare", { onclick: () => (all.value = !all.peek()) }, all.value ? "Show fewer" : `Show ${scene.value.standings.length - SHOWN} more`) : null),
  ];
}

/** Step through what happened. @param {import("../lib/dom.js").Signal<number | null>} upto @param {() => number} total */
function replay(upto, total) {
  const playing = signal(false);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  const stop = () => {
    clearInterval(timer);
    playing.value = false;
  };
  const play = () => {
    if (playing.peek()) return stop();
    playing.value = true;
    if (upto.peek() === null) upto.value = 1;
    timer = setInterval(() => {
      const next = (upto.peek() ?? 0) + 1;
      upto.value = next >= total() ? null : next;
      if (next >= total()) stop();
    }, Math.max(60, Math.min(400, 9000 / Math.max(total(), 1))));
  };
  onEnd(stop);
  const slider = h("input.slider", {
    type: "range", min: 1, max: () => String(total()), step: 1, value: () => String(upto.value ?? total()), "aria-label": "Step of the investigation",
    "aria-valuetext": () => `step ${upto.value ?? total()} of ${total()}`,
    oninput: () => {
      stop();
      upto.value = Number(slider.value) >= total() ? null : Number(slider.value);
    },
  });
  return h(
    "div.scrubber",
    {},
    h("button.button.square.slim", { "aria-label": () => (playing.value ? "Pause" : "Replay the investigation"), onclick: play }, () => icon(playing.value ? "pause" : "play")),
    h("div.track", {}, slider),
    h("output.small", {}, () => `${upto.value ?? total()}/${total()}`),
  );
}

/** @type {{[kind: string]: string}} */
const SIGNS = { opened: "play", asked: "search", believed: "check", traced: "right", warned: "incidents", steered: "user", closed: "calm" };

/** @param {import("../lib/dom.js").Signal<import("./scene.js").Scene>} scene */
function log(scene) {
  const list = each(
    () => scene.value.log,
    (line) => line.at,
    (line) =>
      h(
        "li",
        { class: () => [line.value.kind, line.value.failed ? "bad" : ""] },
        icon(SIGNS[line.peek().kind] ?? "right"),
        h(
          "div",
          {},
          h("p.what", {}, () => [line.value.agent && line.value.agent !== "root" ? h("span.agent", {}, line.value.agent) : null, line.value.what, line.value.why ? h("span.faint", {}, ` ${line.value.why}`) : null]),
          () => (line.value.answer ? h("p.answer", {}, line.value.answer, line.value.evidence ? [" ", h("a", { href: `#${line.value.evidence}` }, "evidence")] : null) : line.value.kind === "asked" ? h("p.answer.faint", {}, "…") : null),
        ),
        h("span.small.faint", {}, () => duration(line.value.s * 1e9)),
      ),
    h("ol.log", { "aria-label": "Questions and answers", tabindex: "0" }),
  );
  effect(() => {
    if (scene.value.log.length) requestAnimationFrame(() => (list.scrollTop = scene.peek().outcome && list.scrollTop === 0 ? 0 : list.scrollHeight));
  });
  return list;
}
