/** Subword tokenizer of SentencePiece (Kudo and Richardson 2018): unigram and bpe models as textrnn trains them. */
import { UserError } from "./errors.js";
import {
  SPECIAL_TOKENS,
  Tokenizer,
  UNKNOWN_ID,
  Utf8StreamDecoder,
  bytesOf,
  checkId,
  checkText,
  textOf,
} from "./tokenizers.js";

const SYMBOL_OF_SPACE = "\u2581";
// Runs of characters that are always spelled as bytes, and runs of others.
const PARTS = /[\x00-\x1f\x7f\u2581\u2585]+|[^\x00-\x1f\x7f\u2581\u2585]{1,65536}/gu;
const SPELLED = /^[\x00-\x1f\x7f\u2581\u2585]/;
// The same where no piece is a space alone: a space is spelled too.
const PARTS_WITHOUT_SPACE = /[\x00-\x20\x7f\u2581\u2585]+|[^\x00-\x20\x7f\u2581\u2585]{1,65536}/gu;
const SPELLED_OR_SPACE = /^[\x00-\x20\x7f\u2581\u2585]/;
const FIRST_LINE = /^textrnn-sentencepiece (\d{1,9}) [0-9a-f]{64}\n/;
const TYPES = { normal: 1, byte: 6 };
const BPE = 2;
const UNKNOWN_PENALTY = 10;

/** Tokenizer of the bytes of a `tokenizer.model`. */
export class SentencePieceTokenizer extends Tokenizer {
  #pieces;
  #ids = new Map();
  #byteIds = [];
  #byteOf = new Map();
  #scores;
  #isBpe;
  #trie = newNode();
  #unknownScore = Infinity;

  constructor(content) {
    super();
    const header = FIRST_LINE.exec(String.fromCharCode(...content.subarray(0, 110)));
    if (!header || Number(header[1]) !== 1) {
      throw new UserError("the first line of tokenizer.model must name the format and version 1; export the bundle again");
    }
    const model = readModel(content.subarray(header[0].length));
    this.#isBpe = model.type === BPE;
    this.#pieces = model.pieces.map((piece) => piece.text);
    this.#scores = Float32Array.from(model.pieces, (piece) => piece.score);
    model.pieces.forEach(({ text, score, type }, id) => {
      if (type === TYPES.byte) {
        this.#byteOf.set(id, this.#byteIds.length);
        this.#byteIds.push(id);
      } else if (type === TYPES.normal) {
        this.#ids.set(text, id);
        this.#unknownScore = Math.min(this.#unknownScore, score);
        if (!this.#isBpe) addPiece(this.#trie, text, id);
      }
    });
    this.#unknownScore = Math.fround(this.#unknownScore - UNKNOWN_PENALTY);
    if (this.#byteIds.length !== 256 || SPECIAL_TOKENS.some((token, id) => token !== this.#pieces[id])) {
      throw new UserError("tokenizer.model must have the special tokens and bytes of textrnn; export the bundle again");
    }
  }

  get vocabularySize() {
    return this.#pieces.length;
  }

  encode(text) {
    checkText(text);
    const hasSpace = this.#ids.has(SYMBOL_OF_SPACE);
    const isSpelled = hasSpace ? SPELLED : SPELLED_OR_SPACE;
    const ids = [];
    for (const part of text.match(hasSpace ? PARTS : PARTS_WITHOUT_SPACE) ?? []) {
      if (isSpelled.test(part)) {
        this.#spell(part, ids);
      } else {
        const normalized = part.replaceAll(" ", SYMBOL_OF_SPACE);
        if (this.#isBpe) this.#merge(normalized, ids);
        else this.#segment(normalized, ids);
      }
    }
    return Int32Array.from(ids);
  }

  tokenText(id) {
    checkId(id, this.vocabularySize);
    return this.#pieces[id].replaceAll(SYMBOL_OF_SPACE, " ");
  }

  streamDecoder() {
    const utf8 = new Utf8StreamDecoder();
    return {
      push: (id) => {
        checkId(id, this.vocabularySize);
        const byte = this.#byteOf.get(id);
        if (byte !== undefined) return utf8.pushByte(byte);
        if (id === UNKNOWN_ID) return utf8.pushText("\ufffd");
        return id < SPECIAL_TOKENS.length ? "" : utf8.pushText(this.tokenText(id));
      },
      finish: () => utf8.flush(),
    };
  }

  #spell(text, ids) {
    for (const byte of bytesOf(text)) ids.push(this.#byteIds[byte]);
  }

  /**
   * Add the most probable segmentation by the Viterbi algorithm. Scores are rounded to float32 where SentencePiece
   * stores them, so that ties and near ties are broken as there.
   */
  #segment(text, ids) {
    const size = text.length;
    const best = new Float32Array(size + 1);
    const starts = new Int32Array(size + 1).fill(-1);
    const tokens = new Int32Array(size + 1);
    const offer = (end, start, token, score) => {
      if (starts[end] < 0 || score > best[end]) {
        best[end] = score;
        starts[end] = start;
        tokens[end] = token;
      }
    };
    for (let start = 0; start < size; ) {
      const width = text.codePointAt(start) > 0xffff ? 2 : 1;
      let isInVocabulary = false;
      let node = this.#trie;
      for (let end = start; end < size; ) {
        node = node.next.get(text.charCodeAt(end++));
        if (node === undefined) break;
        if (node.id >= 0) {
          offer(end, start, node.id, this.#scores[node.id] + best[start]);
          if (end - start === width) isInVocabulary = true;
        }
      }
      if (!isInVocabulary) {
        offer(start + width, start, UNKNOWN_ID, Math.fround(this.#unknownScore + best[start]));
      }
      start += width;
    }
    const ends = [];
    for (let end = size; end > 0; end = starts[end]) ends.push(end);
    for (const end of ends.reverse()) this.#add(text.slice(starts[end], end), tokens[end], ids);
  }

  /** Add the segmentation by byte pair encoding: the pair with the best score is merged first, then the leftmost. */
  #merge(text, ids) {
    const pieces = Array.from(text);
    const before = pieces.map((_, index) => index - 1);
    const after = pieces.map((_, index) => (index + 1 < pieces.length ? index + 1 : -1));
    const heap = new PairHeap();
    const consider = (left, right) => {
      if (left < 0 || right < 0) return;
      const joined = pieces[left] + pieces[right];
      const id = this.#ids.get(joined);
      if (id !== undefined) heap.push({ left, right, score: this.#scores[id], joined });
    };
    for (let index = 1; index < pieces.length; index++) consider(index - 1, index);
    for (let pair = heap.pop(); pair; pair = heap.pop()) {
      const { left, right, joined } = pair;
      const isStale = !pieces[left] || !pieces[right] || pieces[left].length + pieces[right].length !== joined.length;
      if (isStale) continue;
      pieces[left] = joined;
      pieces[right] = "";
      after[left] = after[right];
      if (after[right] >= 0) before[after[right]] = left;
      consider(before[left], left);
      consider(left, after[left]);
    }
    for (const piece of pieces) if (piece) this.#add(piece, this.#ids.get(piece) ?? UNKNOWN_ID, ids);
  }

  #add(piece, id, ids) {
    if (id === UNKNOWN_ID) this.#spell(piece, ids);
    else ids.push(id);
  }
}

/** Binary heap of pairs: the highest score first, then the leftmost. */
class PairHeap {
  #pairs = [];

  push(pair) {
    const pairs = this.#pairs;
    let index = pairs.push(pair) - 1;
    while (index) {
      const parent = (index - 1) >> 1;
      if (!isBefore(pairs[index], pairs[parent])) return;
      [pairs[index], pairs[parent]] = [pairs[parent], pairs[index]];
      index = parent;
    }
  }

  pop() {
    const pairs = this.#pairs;
    const first = pairs[0];
    const last = pairs.pop();
    if (!pairs.length) return first;
    pairs[0] = last;
    for (let index = 0; ; ) {
      let child = 2 * index + 1;
      if (child >= pairs.length) return first;
      if (child + 1 < pairs.length && isBefore(pairs[child + 1], pairs[child])) child++;
      if (!isBefore(pairs[child], pairs[index])) return first;
      [pairs[index], pairs[child]] = [pairs[child], pairs[index]];
      index = child;
    }
  }
}

function isBefore(one, other) {
  return one.score > other.score || (one.score === other.score && one.left < other.left);
}

function newNode() {
  return { id: -1, next: new Map() };
}

function addPiece(root, text, id) {
  let node = root;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (!node.next.has(unit)) node.next.set(unit, newNode());
    node = node.next.get(unit);
  }
  node.id = id;
}

/** Return the pieces and the type of a serialised SentencePiece model. */
function readModel(bytes) {
  const model = { pieces: [], type: 1 };
  for (const [field, value] of fieldsOf(bytes)) {
    if (field === 1) {
      const piece = { text: "", score: 0, type: TYPES.normal };
      for (const [part, content] of fieldsOf(value)) {
        if (part === 1) piece.text = textOf(content);
        else if (part === 2) piece.score = new DataView(content.buffer, content.byteOffset, 4).getFloat32(0, true);
        else if (part === 3) piece.type = content;
      }
      model.pieces.push(piece);
    } else if (field === 2) {
      for (const [part, content] of fieldsOf(value)) if (part === 3) model.type = content;
    }
  }
  return model;
}

/** Yield [field, value] of a protocol buffer: a number for a varint, else the bytes. */
function* fieldsOf(bytes) {
  let place = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[place++];
      if (byte === undefined) throw new UserError("tokenizer.model is cut short; export the bundle again");
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (place < bytes.length) {
    const key = varint();
    const wire = key & 7;
    if (wire === 0) {
      yield [key >> 3, varint()];
      continue;
    }
    const size = wire === 2 ? varint() : wire === 5 ? 4 : 8;
    yield [key >> 3, bytes.subarray(place, (place += size))];
  }
}
