/** Asks for a token, which the server turns into a cookie that scripts cannot read. */

import { ApiError, post } from "./lib/api.js";
import { h, signal } from "./lib/dom.js";
import { mark } from "./components/icon.js";
import { copyable } from "./components/copy.js";

/** @param {() => void} then */
export function login(then) {
  const wrong = signal("");
  const busy = signal(false);
  const field = h("input.field.wide", {
    type: "password", name: "token", autocomplete: "current-password", required: true, spellcheck: "false",
    placeholder: "aetia_…", "aria-describedby": "login-wrong",
  });
  /** @param {Event} event */
  async function send(event) {
    event.preventDefault();
    if (!field.value.trim()) return;
    busy.value = true;
    try {
      await post("login", { token: field.value.trim() });
      field.value = "";
      then();
    } catch (error) {
      wrong.value = error instanceof ApiError ? error.problem.message : String(error);
      field.select();
    } finally {
      busy.value = false;
    }
  }
  requestAnimationFrame(() => field.focus());
  return h(
    "div.login",
    {},
    h(
      "form.card",
      { onsubmit: send },
      h("div.row", {}, h("span.brand", {}, mark(), "Aetia")),
      h("h1", {}, "Log in with a token"),
      h("label.of", {}, "Token", field),
      h("div", { id: "login-wrong", role: "alert" }, () => (wrong.value ? h("div.note.bad", {}, wrong.value) : null)),
      h("button.button.main", { type: "submit", disabled: busy }, "Log in"),
      h("p.small.soft", {}, "Whoever runs this server makes tokens with"),
      copyable("aetia serve token create --scope read,write", "the command"),
    ),
  );
}
