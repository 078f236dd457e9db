// Before the first paint: the theme that was chosen here, so that the page does not flash in the other one.
(() => {
  const held = localStorage.getItem("aetia.theme");
  if (held === "light" || held === "dark") document.documentElement.dataset.theme = held;
  performance.mark("aetia-boot");
})();
