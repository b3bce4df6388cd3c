/**
 * Tokenizers of characters and words, and what all tokenizers share. They encode and decode as `textrnn.tokenizers`.
 *
 * A tokenizer has `vocabularySize`, `encode(text)` to an Int32Array, `encodeWhole(text)`, `decode(ids, after)`,
 * `tokenText(id)` and `streamDecoder(after)`, whose `push(id)` and `finish()` give text that no later token can change.
 */
import { UserError, shown } from "./errors.js";

export const SPECIAL_TOKENS = ["<pad>", "<unk>", "<s>", "</s>"];
export const [PAD_ID, UNKNOWN_ID, BEGINNING_ID, END_ID] = [0, 1, 2, 3];
const REPLACEMENT = "\ufffd";
const FIRST_DIGIT = SPECIAL_TOKENS.length;
export const FIRST_CHARACTER = FIRST_DIGIT + 16;

const UTF8 = new TextEncoder();

/** Return the text of bytes of UTF-8. */
export function textOf(bytes) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

/** Return the UTF-8 bytes of a text. */
export function bytesOf(text) {
  return UTF8.encode(text);
}

/** Throw a UserError for what is no string, and for a string that UTF-8 cannot spell. */
export function checkText(text) {
  if (typeof text !== "string") throw new UserError(`a text must be a string, was: ${shown(text)}; give a string`);
  const lone = /\p{Surrogate}/u.exec(text);
  if (lone) {
    const code = text.charCodeAt(lone.index).toString(16).toUpperCase();
    const place = Array.from(text.slice(0, lone.index)).length;
    throw new UserError(
      `text must not hold lone surrogates, was: U+${code} at character ${place}; replace them: text.toWellFormed()`,
    );
  }
}

/** Throw a UserError for an id that no token has. */
export function checkId(id, vocabularySize) {
  if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
    throw new UserError(
      `an id must be at least 0 and below the vocabulary size ${vocabularySize}, was: ${shown(id)}`,
    );
  }
}

/** Base class: `decode` by the decoder of streams. */
export class Tokenizer {
  /**
   * Encode a text with each character or word that is not known as one unknown token: {ids, pieces}. A piece is the text
   * of a token as written, which may take the place of an unknown one.
   */
  encodeWhole(text) {
    const ids = this.encode(text);
    return { ids, pieces: Array.from(ids, (id) => stripped(this.tokenText(id))) };
  }

  /** Return the text of ids that continue the text `after`, which is not repeated. */
  decode(ids, after = "") {
    const decoder = this.streamDecoder(after);
    let text = "";
    for (const id of ids) text += decoder.push(id);
    return text + decoder.finish();
  }
}

/** Decoder of tokens that are whole characters or single bytes of UTF-8. */
export class Utf8StreamDecoder {
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  #hasBytes = false;

  /** Add a byte, and return the text that is complete. */
  pushByte(byte) {
    this.#hasBytes = true;
    return this.#utf8.decode(Uint8Array.of(byte), { stream: true });
  }

  /** Add whole characters, and return the text that is complete. */
  pushText(text) {
    return this.#hasBytes ? this.flush() + text : text;
  }

  /** Return U+FFFD for bytes that never became a character. */
  flush() {
    this.#hasBytes = false;
    return this.#utf8.decode();
  }
}

/** One token per character; unknown characters are spelled as the hexadecimal digits of their bytes. */
export class CharTokenizer extends Tokenizer {
  #characters;
  #ids;

  constructor(characters) {
    super();
    checkText(characters);
    this.#characters = Array.from(characters);
    this.#ids = new Map(this.#characters.map((character, index) => [character.codePointAt(0), FIRST_CHARACTER + index]));
  }

  get vocabularySize() {
    return FIRST_CHARACTER + this.#characters.length;
  }

  encode(text) {
    checkText(text);
    const ids = [];
    for (let index = 0; index < text.length; index++) {
      const code = text.codePointAt(index);
      if (code > 0xffff) index++;
      const id = this.#ids.get(code);
      if (id !== undefined) {
        ids.push(id);
      } else {
        for (const byte of UTF8.encode(String.fromCodePoint(code))) {
          ids.push(FIRST_DIGIT + (byte >> 4), FIRST_DIGIT + (byte & 15));
        }
      }
    }
    return Int32Array.from(ids);
  }

  encodeWhole(text) {
    checkText(text);
    const pieces = Array.from(text);
    return { ids: Int32Array.from(pieces, (piece) => this.#ids.get(piece.codePointAt(0)) ?? UNKNOWN_ID), pieces };
  }

  tokenText(id) {
    checkId(id, this.vocabularySize);
    if (id < FIRST_DIGIT) return SPECIAL_TOKENS[id];
    return id < FIRST_CHARACTER ? `<hex ${(id - FIRST_DIGIT).toString(16)}>` : this.#characters[id - FIRST_CHARACTER];
  }

  streamDecoder() {
    return new CharStreamDecoder(this.#characters);
  }
}

/** Decoder that joins two digits to a byte, and bytes to characters. */
class CharStreamDecoder {
  #utf8 = new Utf8StreamDecoder();
  #high = null;
  #characters;

  constructor(characters) {
    this.#characters = characters;
  }

  push(id) {
    checkId(id, FIRST_CHARACTER + this.#characters.length);
    if (id >= FIRST_DIGIT && id < FIRST_CHARACTER) {
      const digit = id - FIRST_DIGIT;
      if (this.#high === null) {
        this.#high = digit;
        return "";
      }
      const byte = (this.#high << 4) | digit;
      this.#high = null;
      return this.#utf8.pushByte(byte);
    }
    if (id < FIRST_DIGIT && id !== UNKNOWN_ID) return "";
    return this.#loneDigit() + this.#utf8.pushText(id === UNKNOWN_ID ? REPLACEMENT : this.#characters[id - FIRST_CHARACTER]);
  }

  finish() {
    return this.#loneDigit() + this.#utf8.flush();
  }

  #loneDigit() {
    if (this.#high === null) return "";
    this.#high = null;
    return this.#utf8.pushByte(0xff); // no byte of UTF-8: it decodes to U+FFFD
  }
}

// The classes of Python's `re`: JavaScript's \s lacks four separators and U+0085, and has U+FEFF.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WORD = "\\p{L}\\p{N}_";
const HAN =
  "\\u2e80-\\u2fd5\\u3005\\u3007\\u3021-\\u3029\\u3038-\\u303b\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const MARK = "(?:[\\u200c\\u200d]|(?![\\u{10000}-\\u{10ffff}])\\p{M})";
const PATTERNS = {
  space: `\\n|[^${SPACE}]+`,
  punctuation: `\\n|<unk>|[${HAN}]|(?:(?![${HAN}])[${WORD}]|${MARK})+|[^${WORD}${SPACE}]`,
};
const WIDE = `[${HAN}，。、；：？！（）《》〈〉「」『』【】〔〕“”‘’…—·～．]`;
const WIDE_PAIR = new RegExp(`^${WIDE}${WIDE}$`, "u");
const ENDS_WITH_SPACE = new RegExp(`[${SPACE}]$`, "u");
const NO_SPACE_BEFORE = new Set(".,;:!?)]}…，。、；：？！）》〉」』】〕");
const NO_SPACE_AFTER = new Set("([{（《〈「『【〔");
const NEWLINE = "\n";
const AROUND = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");

/** Return a text without white space around it, as Python's `str.strip`. */
export function stripped(text) {
  return text.replace(AROUND, "");
}

/** One token per word and one per newline; words that it does not know are one token, `<unk>`. */
export class WordTokenizer extends Tokenizer {
  #tokens;
  #ids;
  #pattern;
  #lowercase;
  #byRule;

  constructor(words, { lowercase, split }) {
    super();
    if (!(split in PATTERNS)) {
      throw new UserError(`split must be one of ${Object.keys(PATTERNS).join(", ")}, was: ${shown(split)}; train again`);
    }
    this.#tokens = [...SPECIAL_TOKENS, NEWLINE, ...words];
    this.#ids = new Map(this.#tokens.map((word, id) => [word, id]).slice(SPECIAL_TOKENS.length));
    this.#pattern = PATTERNS[split];
    this.#lowercase = lowercase;
    this.#byRule = split === "punctuation";
  }

  get vocabularySize() {
    return this.#tokens.length;
  }

  encode(text) {
    checkText(text);
    const words = this.#words(this.#lowercase ? text.toLowerCase() : text);
    return Int32Array.from(words, (word) => this.#ids.get(word) ?? UNKNOWN_ID);
  }

  encodeWhole(text) {
    const ids = this.encode(text);
    const lower = this.#lowercase ? text.toLowerCase() : text;
    const written = lower.length === text.length ? text : lower; // else positions are shifted
    const found = lower.matchAll(new RegExp(this.#pattern, "gu"));
    return { ids, pieces: Array.from(found, ({ 0: word, index }) => stripped(written.slice(index, index + word.length))) };
  }

  tokenText(id) {
    checkId(id, this.vocabularySize);
    return this.#tokens[id];
  }

  streamDecoder(after = "") {
    const words = this.#words(after);
    const endsWithSpace = !after || ENDS_WITH_SPACE.test(after);
    return new WordStreamDecoder(this.#tokens, this.#byRule, words.at(-1) ?? NEWLINE, endsWithSpace);
  }

  #words(text) {
    return text.match(new RegExp(this.#pattern, "gu")) ?? [];
  }
}

/** Decoder that puts spaces before words. */
class WordStreamDecoder {
  #tokens;
  #byRule;
  #last;
  #endsWithSpace;

  constructor(tokens, byRule, last, endsWithSpace) {
    this.#tokens = tokens;
    this.#byRule = byRule;
    this.#last = last;
    this.#endsWithSpace = endsWithSpace;
  }

  push(id) {
    checkId(id, this.#tokens.length);
    if (id === PAD_ID || id === BEGINNING_ID || id === END_ID) return "";
    const word = this.#tokens[id];
    const space = this.#endsWithSpace || this.#areClose(this.#last, word) ? "" : " ";
    this.#last = word;
    this.#endsWithSpace = false;
    return space + word;
  }

  finish() {
    this.#last = NEWLINE;
    this.#endsWithSpace = false;
    return "";
  }

  #areClose(left, right) {
    if (left === NEWLINE || right === NEWLINE) return true;
    return this.#byRule && (NO_SPACE_BEFORE.has(right) || NO_SPACE_AFTER.has(left) || WIDE_PAIR.test(left + right));
  }
}
