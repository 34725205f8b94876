// Texts with less contrast than WCAG 2.2 AA wants (1.4.3), with their ratio. What cannot be used need not be read.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [[r, g, b], a / 255];
}

const over = ([color, alpha], below) => below.map((part, at) => part * (1 - alpha) + color[at] * alpha);

function luminance(color) {
  const [r, g, b] = color.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function chain(node) {
  const all = [];
  for (let at = node; at; at = at.parentElement) all.push(at);
  return all;
}

function ratio(node, canvasColor) {
  const parents = chain(node);
  const behind = parents.toReversed().reduce((below, at) => over(rgba(getComputedStyle(at).backgroundColor), below), canvasColor);
  const opacity = parents.reduce((product, at) => product * getComputedStyle(at).opacity, 1);
  const [color, alpha] = rgba(getComputedStyle(node).color);
  const [low, high] = [luminance(over([color, alpha * opacity], behind)), luminance(behind)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

const ground = document.createElement("i");
ground.style.backgroundColor = "Canvas";
document.body.append(ground);
const [canvasColor] = rgba(getComputedStyle(ground).backgroundColor);
ground.remove();

const faint = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const node = texts.currentNode.parentElement;
  const { width, height } = node.getBoundingClientRect();
  const text = texts.currentNode.textContent.trim();
  const isSeen = text && width > 1 && height > 1 && node.checkVisibility({ visibilityProperty: true });
  if (!isSeen || node.closest(":disabled, option, script, style")) continue;
  const { fontSize, fontWeight } = getComputedStyle(node);
  const isLarge = parseFloat(fontSize) >= (fontWeight >= 700 ? 18.66 : 24);
  const has = ratio(node, canvasColor);
  if (has < (isLarge ? 3 : 4.5)) faint.push([text.slice(0, 40), Math.round(has * 100) / 100]);
}
return faint;
