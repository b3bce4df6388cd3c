// The page's words in the chosen language. Both languages have the same keys (a test compares them).

import { remember, remembered } from "./memory.js";

const LANGUAGES = { en: "en", zh: "zh-Hans" };
const listeners = [];
let words = {};
let language = "en";

export async function startWords() {
  const wanted = remembered("language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  await use(wanted in LANGUAGES ? wanted : "en");
}

export async function switchLanguage() {
  await use(language === "en" ? "zh" : "en");
  remember("language", language);
}

/** Calls `listener` after each change of the language. */
export function onLanguage(listener) {
  listeners.push(listener);
}

/** Returns the text of a key, with `{name}` replaced by the values. */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Returns the text of a key, or the fallback if there is none. */
export function tOr(key, fallback) {
  return words[key] ?? fallback;
}

export function currentLanguage() {
  return language;
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(LANGUAGES[language], options).format(value);
}

/** Formats a probability: 43 %, 0.2 %. Never 100 % or 0 % of what is only nearly so. */
export function percent(value) {
  if (value > 0.9995 && value < 1) return `> ${number(0.999, { style: "percent", maximumFractionDigits: 1 })}`;
  if (value > 0 && value < 0.0005) return `< ${number(0.001, { style: "percent", maximumFractionDigits: 1 })}`;
  const digits = value >= 0.1 && value < 0.99 ? 0 : 1;
  return number(value, { style: "percent", maximumFractionDigits: digits });
}

async function use(wanted) {
  const response = await fetch(new URL(`../words/${wanted}.json`, import.meta.url));
  words = await response.json();
  language = wanted;
  document.documentElement.lang = LANGUAGES[language];
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of document.querySelectorAll("[data-t-placeholder]")) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
  for (const listener of listeners) listener();
}
