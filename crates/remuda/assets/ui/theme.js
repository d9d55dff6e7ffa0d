"use strict";
// Runs before anything is painted, so that a page in dark does not flash in light.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("remuda.theme"); } catch { /* Storage is off: as the system has it. */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
