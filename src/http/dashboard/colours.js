// Colours: each function and job keeps the one it got when it was first seen; the style sheet says which they are.

const COLOURS = 8;
/** So many names are remembered. */
const MOST = 2000;
const given = new Map();

/** The number of a name's colour. */
export function colourOf(name) {
  let at = given.get(name);
  if (at === undefined) {
    if (given.size >= MOST) given.clear();
    given.set(name, (at = given.size % COLOURS));
  }
  return at;
}

let palette = null;

/** What canvases draw with, as the style sheet has it for the light or the dark. */
export function colours() {
  if (palette) return palette;
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  palette = { names: Array.from({ length: COLOURS }, (_, at) => of(`c${at}`)) };
  for (const name of ["ink", "soft", "line", "bad", "panel", "lane", "accent", "ok"]) palette[name] = of(name);
  palette.font = getComputedStyle(document.body).fontFamily;
  return palette;
}

const repaints = new Set();

/** Calls `repaint` when the colours have changed. */
export const onColours = (repaint) => repaints.add(repaint);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  for (const repaint of repaints) repaint();
});

/** A canvas' context in CSS pixels, as sharp as the screen; cleared. */
export function brush(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
