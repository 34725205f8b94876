// What changed between two JSON documents, as a JSON Merge Patch (RFC 7396).
import gristmill from '../../workers/node/gristmill.mjs'; // or a copy of it beside this file
import { isDeepStrictEqual } from 'node:util';

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

function diff(before, after) {
  if (!isObject(before) || !isObject(after)) return after;
  const removed = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
  const changed = Object.keys(after).filter(
    (key) => !Object.hasOwn(before, key) || !isDeepStrictEqual(before[key], after[key]),
  );
  return Object.fromEntries([
    ...removed.map((key) => [key, null]),
    ...changed.map((key) => [key, diff(before[key], after[key])]),
  ]);
}

gristmill.run(({ before, after }) => diff(before, after));
