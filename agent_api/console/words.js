// Words and amounts in the agent's language.

let language = "en-US";
let labels = {};

export function speak(tag, texts) {
  language = tag;
  labels = texts;
  document.documentElement.lang = tag;
}

export const languageTag = () => language;
export const has = (key) => key in labels;

export function say(key, values = {}) {
  const text = labels[key] || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const languageName = (tag) => new Intl.DisplayNames([language], { type: "language" }).of(tag);

// Digits after the point as the vault counts them (ISO 4217, vault/currency.py): browsers differ, HUF has none in
// one and two in another, and an amount must not depend on that.
const WITHOUT = new Set("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" "));
const THREE = new Set("BHD IQD JOD KWD LYD OMR TND".split(" "));
export const decimals = (currency) => (WITHOUT.has(currency) ? 0 : THREE.has(currency) ? 3 : 2);

export function money(minor, currency) {
  const places = decimals(currency);
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
  return new Intl.NumberFormat(language, { style: "currency", currency, ...digits }).format(minor / 10 ** places);
}

// An amount as it is typed: the same that `minorUnits` reads.
export const plain = (minor, currency) => (minor / 10 ** decimals(currency)).toFixed(decimals(currency));

// A moment of the desk (UTC, ISO 8601) on the agent's own clock.
export const moment = (at) => new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short" }).format(new Date(at));

// Minor units of what was typed, or null. Point and comma both mean the decimals; thousands are not separated,
// because "1.234" would be one thing in Berlin and another in Boston.
export function minorUnits(text, currency) {
  const match = /^(\d{1,9})(?:[.,](\d+))?$/.exec(text.trim());
  const places = decimals(currency);
  if (!match || (match[2] || "").length > places) return null;
  return Number(match[1] + (match[2] || "").padEnd(places, "0"));
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
}
