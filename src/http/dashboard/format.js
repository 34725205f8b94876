// Numbers, times and sizes as people read them, and text that can be looked at without harm. No DOM.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const count = (number) => whole.format(number ?? 0);

/** 1234567 as 1.2M. */
export const brief = (number) => short.format(number ?? 0);

export function rate(perSecond) {
  if (perSecond == null) return "–";
  return perSecond < 10 ? `${digits(perSecond, 2)}/s` : `${brief(perSecond)}/s`;
}

/** Three digits that say something: 0.042, 4.2, 42. */
function digits(number, most) {
  return number.toLocaleString("en", { maximumSignificantDigits: most });
}

/** Milliseconds as 12 µs, 3.4 ms, 5.6 s, 2 min 5 s, 3 h 7 min, 4 d 2 h. */
export function duration(ms) {
  if (ms == null) return "–";
  if (ms === 0) return "0 s";
  if (ms < 1) return `${digits(ms * 1e3, 3)} µs`;
  if (ms < 999.5) return `${digits(ms, 3)} ms`;
  if (ms < 60_000) return `${digits(ms / 1e3, 3)} s`;
  const units = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];
  const at = units.findIndex(([, size]) => ms >= size);
  const [[large, size], [small, rest]] = [units[at], units[at + 1]];
  return `${Math.floor(ms / size)} ${large} ${Math.floor((ms % size) / rest)} ${small}`;
}

export function bytes(number) {
  if (!number) return "–";
  const power = Math.min(4, Math.floor(Math.log2(number) / 10));
  return `${digits(number / 1024 ** power, 3)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export const percent = (ratio) => (ratio == null ? "–" : `${Math.floor(ratio * 100)} %`);

/** The time of day; the day before it if that is not today. */
export function clock(rfc3339) {
  const at = new Date(rfc3339);
  const today = new Date().toDateString() === at.toDateString();
  return today ? time.format(at) : `${day.format(at)}, ${time.format(at)}`;
}

const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const UNSEEN = /[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const hex = (character) => character.charCodeAt(0).toString(16);

/** Text with what a terminal or a reader of two directions would obey made visible; cut behind `most` characters. */
export function visible(text, most = 2000) {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  const plain = cut.replace(/\r\n/g, "\n").replace(CONTROLS, (character) => `\\x${hex(character).padStart(2, "0")}`);
  return plain.replace(UNSEEN, (character) => `\\u${hex(character)}`);
}

/** The same on one line. */
export const line = (text, most = 200) => visible(text, most).replace(/\n/g, "↵").replace(/\t/g, " ");
