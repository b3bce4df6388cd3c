// A text as a row of tokens, each with a class for its colour and a tip for what is known of it.
//
// The text is one stop of the Tab key. Arrow keys, Home and End move from token to token; Enter opens the tip's choices
// and Escape closes it. The tip is spoken too.

import { t } from "../words.js";

const tip = document.getElementById("tip");
const spoken = document.getElementById("spoken");
const NAMES = { "<pad>": "token.nothing", "<unk>": "token.unknown", "<s>": "token.nothing", "</s>": "token.end" };
let owner = null; // the row whose tip is open

export class Tokens {
  /**
   * @param box the element of the text
   * @param tipOf function from (token, index) to {nodes, said}: the content of the tip, and its words for a reader
   */
  constructor(box, tipOf) {
    this.box = box;
    this.given = make("span", "given");
    this.row = make("span", "");
    box.append(this.given, this.row);
    this.tipOf = tipOf;
    this.tokens = [];
    this.at = -1;
    box.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse" && !this.pinned()) this.show(this.indexOf(event.target));
    });
    box.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !this.pinned()) this.hide();
    });
    box.addEventListener("click", (event) => {
      if (!getSelection().isCollapsed) return; // a selection with the mouse ends with a click
      const index = this.indexOf(event.target);
      if (index >= 0) this.pin(index);
      else this.hide();
    });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("blur", () => {
      if (!this.pinned()) this.hide();
    });
  }

  /** Removes all tokens; `given` is a text to show before those that come. */
  clear(given = "") {
    this.hide();
    this.tokens = [];
    this.at = -1;
    this.given.textContent = given;
    this.row.replaceChildren();
  }

  /** Adds tokens {text, style, ...} at the end. */
  add(tokens) {
    const added = document.createDocumentFragment();
    for (const token of tokens) {
      // The space before a word is not coloured with it.
      const word = token.text.trimStart();
      const space = word && token.text.slice(0, -word.length);
      const span = make("span", "", space, make("span", token.style, token.text.slice(space.length)));
      if (token.text.includes("\n")) span.classList.add("line-end");
      span.dataset.index = this.tokens.length;
      this.tokens.push(token);
      added.append(span);
    }
    this.row.append(added);
  }

  text() {
    return this.tokens.map((token) => token.text).join("");
  }

  show(index) {
    if (index < 0 || index >= this.tokens.length) return;
    this.mark(index);
    const { nodes, said } = this.tipOf(this.tokens[index], index);
    owner = this;
    tip.replaceChildren(...nodes);
    tip.hidden = false;
    delete tip.dataset.pinned;
    tip.setAttribute("role", "tooltip");
    tip.setAttribute("aria-label", said);
    this.place(index);
    return said;
  }

  pin(index) {
    const said = this.show(index);
    tip.dataset.pinned = "";
    tip.setAttribute("role", "dialog");
    const first = tip.querySelector("button");
    if (first) first.focus();
    else if (said) spoken.textContent = said;
  }

  pinned() {
    return owner === this && "pinned" in tip.dataset;
  }

  hide() {
    if (owner !== this) return;
    owner = null;
    tip.hidden = true;
    delete tip.dataset.pinned;
    this.box.querySelector(".now")?.classList.remove("now");
  }

  mark(index) {
    this.box.querySelector(".now")?.classList.remove("now");
    this.at = index;
    this.row.children[index].classList.add("now");
  }

  indexOf(element) {
    const span = element.closest("[data-index]");
    return span && this.row.contains(span) ? Number(span.dataset.index) : -1;
  }

  /** Puts the tip below its token, or above where there is no room, and inside the window. */
  place(index) {
    const rect = this.row.children[index].lastChild.getClientRects()[0] ?? this.box.getBoundingClientRect();
    const left = Math.min(Math.max(8, rect.left - 12), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = rect.bottom + 6;
    const fits = below + tip.offsetHeight < innerHeight - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${fits ? below : Math.max(8, rect.top - tip.offsetHeight - 6)}px`;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tokens.length) return;
    const last = this.tokens.length - 1;
    const moves = {
      ArrowRight: this.at + 1,
      ArrowLeft: this.at < 0 ? last : this.at - 1,
      ArrowDown: this.nearby(1),
      ArrowUp: this.nearby(-1),
      Home: 0,
      End: last,
    };
    if (event.key in moves) {
      const index = Math.min(last, Math.max(0, moves[event.key]));
      this.row.children[index].scrollIntoView({ block: "nearest" });
      spoken.textContent = this.show(index);
    } else if (event.key === "Enter" && this.at >= 0) {
      this.pin(this.at);
    } else if (event.key === "Escape" && owner === this) {
      this.hide();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Returns the token of the next line, or the previous one, that is nearest below or above the present one. */
  nearby(direction) {
    if (this.at < 0) return 0;
    const spans = this.row.children;
    const { left, top } = spans[this.at].getClientRects()[0] ?? {};
    let best = this.at;
    let line = null;
    let distance = Infinity;
    for (let index = this.at + direction; index >= 0 && index < spans.length; index += direction) {
      const rect = spans[index].getClientRects()[0];
      if (!rect || Math.abs(rect.top - top) < 2) continue;
      line ??= rect.top;
      if (Math.abs(rect.top - line) >= 2) break;
      if (Math.abs(rect.left - left) < distance) {
        distance = Math.abs(rect.left - left);
        best = index;
      }
    }
    return best;
  }
}

/**
 * Returns the text that a token of the vocabulary adds, or null if it adds none by itself: the end of the text, the
 * unknown token, a byte of a character.
 */
export function textOf(token) {
  const [, byte] = token.match(/^<0x([0-9A-F]{2})>$/) ?? [];
  if (byte) return parseInt(byte, 16) < 0x80 ? String.fromCharCode(parseInt(byte, 16)) : null;
  return Object.hasOwn(NAMES, token) || /^<hex \w>$/.test(token) ? null : token;
}

/** Returns a token for display: white space and what is no text by name. */
export function nameOf(token) {
  if (Object.hasOwn(NAMES, token)) return t(NAMES[token]);
  const text = textOf(token);
  if (text === null) return t("token.part");
  if (text === "") return t("token.nothing");
  if (text === " ") return t("token.space");
  if (text === "\n") return t("token.line");
  if (text === "\t") return t("token.tab");
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ | $/g, "␣");
}

/** Returns a new element with a class and children. */
export function make(tag, style, ...children) {
  const element = document.createElement(tag);
  if (style) element.className = style;
  element.append(...children);
  return element;
}

tip.addEventListener("keydown", (event) => {
  const buttons = [...tip.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
  else if (event.key === "ArrowUp") buttons[Math.max(at - 1, 0)]?.focus();
  else if (event.key === "Escape") {
    const box = owner?.box;
    owner?.hide();
    box?.focus({ preventScroll: true });
  } else return;
  event.preventDefault();
  event.stopPropagation();
});
tip.addEventListener("focusout", (event) => {
  if (owner && event.relatedTarget && !tip.contains(event.relatedTarget) && event.relatedTarget !== owner.box)
    owner.hide();
});
document.addEventListener("pointerdown", (event) => {
  if (owner && !tip.contains(event.target) && !owner.box.contains(event.target)) owner.hide();
});
addEventListener("scroll", () => owner?.place(owner.at), { passive: true });
