/** How to send telemetry here, to copy. */

import { h, signal } from "../lib/dom.js";
import { copyable } from "../components/copy.js";

const TABS = [
  ["SDK", "Any OpenTelemetry SDK, by its environment", () => `export OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`],
  ["Collector", "The OpenTelemetry Collector, beside the exporters it has", () => `exporters:\n  otlphttp/aetia:\n    endpoint: ${location.origin}\n    compression: gzip`],
  ["Deploys", "From the pipeline that deploys, so that changes stand on every time axis", () => `curl ${location.origin}/api/v1/changes -H 'content-type: application/json' \\\n  -d '{"kind": "deploy", "service": "checkout", "description": "1.4.2 → 1.5.0"}'`],
];

export function sending() {
  const chosen = signal(0);
  return h(
    "div.sending",
    {},
    h("h2", {}, "Send telemetry here"),
    h("p.lead", {}, "Traces are the most useful; logs, metrics and deploys make the answers surer. Incidents open by themselves once there are some minutes to compare with."),
    h(
      "div.switch",
      { role: "group", "aria-label": "Ways to send" },
      TABS.map(([word], index) => h("button.button", { "aria-pressed": () => String(chosen.value === index), onclick: () => (chosen.value = index) }, String(word))),
    ),
    () => {
      const [, words, lines] = TABS[chosen.value];
      return [h("p.small.soft", {}, String(words)), copyable(typeof lines === "function" ? lines() : lines)];
    },
  );
}
