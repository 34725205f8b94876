// Shapes, as people read them.

import { element, json, line } from "./dom.js";

const target = (reference) => reference.split("/").pop();

export function resolve(document, thing) {
  return thing?.$ref ? thing.$ref.slice(2).split("/").reduce((at, name) => at[name], document) : thing;
}

function link(reference) {
  return element("a", { href: `#schema-${target(reference)}` }, target(reference));
}

function joined(parts, by) {
  return parts.flatMap((part, at) => at ? [by, part] : [part]);
}

// The type of a value in a few words, with links to what has a name.
export function type(schema = {}) {
  if (schema.$ref) return [link(schema.$ref)];
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return joined(several.map((one) => type(one)), " or ").flat();
  if (schema.allOf) return joined(schema.allOf.filter((one) => !one.anyOf).map((one) => type(one)), " and ").flat();
  if (schema.enum) return joined(schema.enum.map((word) => element("code", {}, json(word))), " or ");
  if (schema.contentMediaType === "application/json") return ["JSON: ", ...type(schema.contentSchema)];
  if (schema.contentSchema) return ["lines of ", ...type(schema.contentSchema.items)];
  const types = [schema.type ?? "any"].flat();
  const items = schema.type === "array" || types.includes("array") ? [" of ", ...type(schema.items)] : [];
  return [types.join(" or "), ...items];
}

const BOUNDS = {
  minimum: "≥", maximum: "≤", exclusiveMinimum: ">", minLength: "length ≥", maxLength: "length ≤", maxItems: "items ≤",
  maxProperties: "members ≤", default: "default", format: "",
};

export function bounds(schema = {}) {
  const of = Object.entries(BOUNDS).filter(([name]) => schema[name] !== undefined);
  const told = of.map(([name, word]) => `${word} ${json(schema[name])}`.trim());
  // An example tells more than a pattern.
  const like = schema.examples ?? schema.items?.examples ?? (schema.pattern ? [schema.pattern] : []);
  if (like.length) told.push(`as ${like.map((one) => typeof one === "object" ? JSON.stringify(one) : one).join(", ")}`);
  return told.length ? element("small", {}, ` ${told.join(", ")}`) : null;
}

// The events of a stream, each with what its data is and what it means.
function events(document, kinds) {
  const rows = kinds.map(({ properties: { event, data }, description }) => element("tr", {},
    element("td", {}, element("code", {}, event.enum[0])),
    element("td", {}, type(data), data.contentSchema.$ref ? null : members(document, data.contentSchema)),
    element("td", {}, line(description))));
  return element("table", { className: "members" }, element("tbody", {}, rows));
}

// The members of an object, each with its type and what it means.
export function members(document, schema) {
  const whole = resolve(document, schema) ?? {};
  if (whole.oneOf?.every((one) => one.properties?.event)) return events(document, whole.oneOf);
  const parts = [whole, ...(whole.allOf ?? []).map((part) => resolve(document, part))];
  const rows = parts.flatMap((part) => Object.entries(part.properties ?? {}).map(([name, member]) => {
    const needed = part.required?.includes(name);
    return element("tr", {},
      element("td", {}, element("code", {}, name), needed ? element("b", { title: "always there" }, " *") : null),
      element("td", {}, type(member), bounds(member)),
      element("td", {}, line(member.description)));
  }));
  return rows.length ? element("table", { className: "members" }, element("tbody", {}, rows)) : null;
}

// An example of a media type, or of its schema.
export function example(document, media) {
  const schema = resolve(document, media.schema) ?? {};
  return media.example ?? schema.example ?? schema.examples?.[0];
}

export function named(document, name, schema) {
  const shown = example(document, { schema });
  return element("section", { id: `schema-${name}`, className: "schema" },
    element("h3", {}, name),
    element("p", {}, line(schema.description)),
    members(document, schema) ?? element("p", {}, type(schema), bounds(schema)),
    shown === undefined ? null : element("pre", {}, json(shown)));
}
