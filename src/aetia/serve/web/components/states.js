/** What is shown instead of content: loading, nothing there, failed. */

import { h, signal, untracked } from "../lib/dom.js";
import { ApiError } from "../lib/api.js";
import { hear } from "../lib/live.js";
import { sentence } from "../lib/format.js";
import { icon } from "./icon.js";
import { copyText } from "./copy.js";

/** Grey lines in the place of what is being fetched. @param {number} [lines] */
export const bones = (lines = 6) =>
  h("div.bones", { role: "status", "aria-label": "Loading" }, Array.from({ length: lines }, () => h("i")));

/** Nothing there, and what to do about it. @param {string} title @param {any} [body] @param {{icon?: string, good?: boolean,
 * slim?: boolean}} [how] */
export function empty(title, body, { icon: name = "search", good = false, slim = false } = {}) {
  const words = body === undefined || body instanceof Node || Array.isArray(body) ? body : h("p", {}, body);
  return h("div.state", { class: [good && "good", slim && "slim"] }, icon(name), h("h2", {}, title), words);
}

/** A failed request: what happened, what was asked, what to try. @param {unknown} error @param {() => void} [retry] */
export function failed(error, retry) {
  const problem = error instanceof ApiError ? error.problem : null;
  const asked = problem?.asked && Object.keys(problem.asked).length ? JSON.stringify(problem.asked) : "";
  const lines = [
    asked && ["asked", asked],
    problem?.searched && ["searched", problem.searched],
    problem?.try && ["try", problem.try],
  ].filter((line) => Array.isArray(line));
  const told = signal("Copy details");
  const detail = problem ? JSON.stringify(problem, null, 2) : String(error instanceof Error ? error.stack : error);
  return h(
    "div.state.failed",
    { role: "alert" },
    icon("incidents"),
    h("h2", {}, titleOf(error)),
    h("p", {}, sentence(problem?.message ?? String(error instanceof Error ? error.message : error))),
    lines.map(([name, text]) => h("p.hint", {}, `${name}: `, h("code", {}, text))),
    h(
      "div.row",
      {},
      retry && !["forbidden", "not_found", "bad_request"].includes(problem?.kind ?? "") ? h("button.button.main", { onclick: retry }, icon("again"), "Try again") : null,
      problem?.kind === "not_found" ? h("a.button.main", { href: "/incidents" }, "Go to the incidents") : null,
      h("button.button", { onclick: () => copyText(detail, (done) => (told.value = done ? "Copied" : "Could not copy")) }, told),
    ),
  );
}

/** @param {unknown} error */
function titleOf(error) {
  const kind = error instanceof ApiError ? error.problem.kind : "";
  /** @type {Record<string, string>} */
  const titles = {
    not_found: "There is no such thing here",
    unreachable: "The server does not answer",
    forbidden: "Not allowed",
    unauthorised: "Log in first",
    busy: "The server is busy",
    deadline: "That took too long",
    bad_request: "That question cannot be answered",
    unanswerable: "That question cannot be answered",
    unavailable: "Not available",
  };
  return titles[kind] ?? "Something went wrong";
}

/** Fetch and show: bones, then the content, or why there is none. `reload` of the result fetches again and keeps what is
 * shown meanwhile. @template T @param {() => Promise<T>} fetcher @param {(value: T) => any} render
 * @param {{lines?: number, slim?: boolean}} [how] @returns {{node: HTMLElement, reload: () => Promise<void>}} */
export function loaded(fetcher, render, { lines = 6 } = {}) {
  /** @type {import("../lib/dom.js").Signal<{kind: string, value?: any}>} */
  const state = signal({ kind: "waiting" });
  let number = 0;
  async function reload() {
    const mine = ++number;
    try {
      const value = await fetcher();
      if (mine === number) state.value = { kind: "there", value };
    } catch (error) {
      if (mine !== number || (error instanceof DOMException && error.name === "AbortError")) return;
      state.value = { kind: "failed", value: error };
    }
  }
  const node = h("div", {}, () => {
    const { kind, value } = state.value;
    if (kind === "waiting") return bones(lines);
    return untracked(() => (kind === "there" ? render(value) : failed(value, again)));
  });
  function again() {
    state.value = { kind: "waiting" };
    void reload();
  }
  hear("back", () => state.peek().kind === "failed" && again());
  void reload();
  return { node, reload };
}
