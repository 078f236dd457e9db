/** The course of the fault as the map plays it; what happened when is the API's answer. */

/** @typedef {import("../lib/types.js").Step} Step */

/** The service that stands for an entity on the map. @param {import("../lib/types.js").Entity} entity */
export const onMap = (entity) => entity.service ?? entity.name;

/** Moments at which the steps are shown: steps that one bin of time cannot tell apart follow one another within it, in the
 * order of the path. @param {Step[]} steps @param {number} span ns that the whole scale covers @returns {number[]} */
export function moments(steps, span) {
  const apart = span / 60;
  let last = -Infinity;
  return steps.map((step) => {
    last = step.kind === "hurt" ? Math.max(step.at_ns, last) : Math.max(step.at_ns, last + apart);
    return last;
  });
}
