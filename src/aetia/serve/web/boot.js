// Before the first paint: the theme that was chosen here, so that the page does not flash in the other one; and the modules
// of the page that was asked for, all at once instead of one import after the other.
(() => {
  performance.mark("aetia-boot");
  const held = localStorage.getItem("aetia.theme");
  if (held === "light" || held === "dark") document.documentElement.dataset.theme = held;
  const asked = /^\/explore\/traces\/[^/]+/.exec(location.pathname)?.[0].slice("/explore".length);
  if (asked) {
    const url = `/api/v1${asked}/waterfall?limit=1500`; // the server reads a large trace while the modules load
    /** @type {any} */ (globalThis).aetiaEarly = { url, answer: fetch(url, { credentials: "same-origin", headers: { accept: "application/json" } }).catch(() => null) };
  }
  const base = ["app", "shell", "login"];
  const lib = ["dom", "api", "exact", "router", "range", "format", "keys", "live", "theme"];
  const components = ["icon", "states", "copy", "time", "overlay", "timepicker"];
  const list = ["incidents/list", "incidents/item", "incidents/record", "incidents/sending", "lib/words", "components/badge"];
  const one = [
    ...["page", "data", "head", "spread", "signals", "investigation", "evidence", "ruled", "templates", "traces", "history"],
    ...["record", "course", "item", "actions", "scene", "checks"],
  ].map((name) => `incidents/${name}`);
  const shown = ["lib/words", "lib/layered", "components/chart", "components/map", "components/badge", "components/table", "components/spans", "components/spark", "vendor/uplot/uPlot.esm", "vendor/cytoscape/cytoscape.esm.min"];
  const trace = ["explore/frame", "explore/common", "components/table", ...["page", "drawer", "model", "versus", "view", "draw", "columns"].map((name) => `explore/trace/${name}`)];
  const page = /^\/explore\/traces\/./.test(location.pathname) ? trace : /^\/incidents\/./.test(location.pathname) ? [...one, ...shown] : /^\/(incidents\/?)?$/.test(location.pathname) ? list : [];
  for (const name of [...base, ...lib.map((item) => `lib/${item}`), ...components.map((item) => `components/${item}`), ...page]) {
    const link = document.createElement("link");
    link.rel = "modulepreload";
    link.href = `/ui/${name}.js`;
    document.head.append(link);
  }
})();
