// Elements from data. Text only ever goes in as text.

// element("a", { href }, "text", child …); what is null or false is left out.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return made;
}

// The little of Markdown that the document uses: `code` and paragraphs.
export function prose(text = "") {
  return text.split(/\n\s*\n/).filter(Boolean).map((paragraph) => element("p", {}, line(paragraph)));
}

export function line(text = "") {
  return text.split("`").map((part, at) => at % 2 ? element("code", {}, part) : part);
}

export function row(...cells) {
  return element("tr", {}, cells.map((cell) => element("td", {}, cell)));
}

export function json(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
