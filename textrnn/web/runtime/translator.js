/** Runtime of a model from a text to another: beam search over its encode and decode graphs. */
import { search } from "./beam_search.js";
import { likeLengths } from "./classifiers.js";
import { UserError, requireWholeNumber, shown } from "./errors.js";
import { UNKNOWN_ID, stripped } from "./tokenizers.js";

const BEAMS = 4;
const BATCH_TOKENS = 1024; // source tokens that are read at once
const OPTIONS = ["beams", "lengthPenalty", "align", "signal"];

/** Model of a bundle from a text to another. */
export class Translator {
  #graphs;
  #layers;
  #hidden;
  #unknown;

  constructor(manifest, tokenizer, graphs, { targetTokenizer }) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.targetTokenizer = targetTokenizer;
    this.longestSource = manifest.runtime.longest_source;
    this.#graphs = graphs;
    [this.#layers, , this.#hidden] = manifest.graphs.encode?.outputs.find(({ name }) => name === "state").shape ?? [];
    this.#unknown = stripped(targetTokenizer.decode([UNKNOWN_ID]));
  }

  /** Return the output for each text: [{text, score, logProb, candidates, tokens, isWhole, isLonger}]. */
  async transform(texts, options = {}) {
    const { beams, lengthPenalty, align, signal } = this.#checked(options);
    const sources = this.#encoded(texts);
    const outputs = [];
    for (const { rows, time } of likeLengths(sources.map(({ ids }) => ids.length), (length) => length, BATCH_TOKENS)) {
      const batch = rows.map((row) => sources[row]);
      const found = await this.#searched(batch, time, beams, lengthPenalty, signal);
      rows.forEach((row, index) => {
        const source = sources[row];
        const candidates = found[index].map((hypothesis) => ({
          text: this.#text(hypothesis, source),
          score: hypothesis.score,
          logProb: hypothesis.logProb,
          ...(align ? { alignment: this.#alignment(hypothesis, source) } : {}),
        }));
        const { text, score, logProb } = candidates[0];
        const tokens = source.ids.length;
        const { isWhole } = found[index][0];
        outputs[row] = { text, score, logProb, candidates, tokens, isWhole, isLonger: tokens > this.longestSource };
      });
    }
    return outputs;
  }

  /** Return the alignment of the best output of a text: {source, output, weights}. */
  async align(text, options = {}) {
    const [output] = await this.transform([text], { ...options, align: true });
    return output.candidates[0].alignment;
  }

  #checked(given) {
    const odd = Object.keys(given).find((name) => !OPTIONS.includes(name));
    if (odd) throw new UserError(`an option must be one of ${OPTIONS.join(", ")}, was: ${shown(odd)}; leave it out`);
    const options = { lengthPenalty: this.manifest.runtime.length_penalty, ...withoutUndefined(given) };
    options.beams ??= BEAMS;
    requireWholeNumber("beams", options.beams, 1, "4 is usual, 1 is greedy");
    if (!Number.isFinite(options.lengthPenalty)) {
      throw new UserError(`lengthPenalty must be a number, was: ${shown(options.lengthPenalty)}; 1 compares means`);
    }
    return options;
  }

  #encoded(texts) {
    if (typeof texts === "string" || typeof texts?.[Symbol.iterator] !== "function") {
      throw new UserError(`texts must be several strings, was: ${shown(texts)}; put it in an array`);
    }
    return Array.from(texts, (text) => {
      if (typeof text !== "string") throw new UserError(`a source must be a string, was: ${shown(text)}; give strings`);
      const source = this.tokenizer.encodeWhole(stripped(text));
      if (!source.ids.length) throw new UserError(`a source must have text, was: ${shown(text)}; leave it out`);
      return source;
    });
  }

  async #searched(sources, time, beams, lengthPenalty, signal) {
    const ids = new Int32Array(sources.length * time); // PAD_ID is 0
    sources.forEach((source, row) => ids.set(source.ids, row * time));
    const feeds = { ids: ["int32", ids, [sources.length, time]] };
    const { keys, values, mask, state } = await this.#graphs.run("encode", feeds);
    const [ofKeys, ofValues, ofMask] = [keys, values, mask].map((tensor) => rowsOf(tensor.data, sources.length));
    const memory = sources.map((_, row) => [ofKeys[row], ofValues[row], ofMask[row]]);
    const step = (tokens, before, read) => {
      signal?.throwIfAborted();
      return this.#step(tokens, before, read, time);
    };
    const bounds = sources.map((source) => this.#bound(source.ids.length));
    const first = { data: state.data, batch: sources.length };
    return search(step, memory, first, bounds, beams, lengthPenalty, this.#hidden);
  }

  async #step(ids, state, memory, time) {
    const rows = ids.length;
    const wide = [rows, time, this.#hidden];
    const [keys, values, mask] = [0, 1, 2].map((place) => joined(memory.map((ofRow) => ofRow[place])));
    const found = await this.#graphs.run("decode", {
      ids: ["int32", ids, [rows]],
      state: ["float32", state.data, [this.#layers, rows, this.#hidden]],
      keys: ["float32", keys, wide],
      values: ["float32", values, wide],
      mask: ["float32", mask, [rows, time]],
    });
    return {
      logits: rowsOf(found.logits.data, rows),
      attention: rowsOf(found.attention.data, rows),
      state: { data: found.next_state.data, batch: rows },
    };
  }

  /** Return the maximum number of tokens of an output; it grows for a source longer than any in training. */
  #bound(length) {
    return Math.ceil(this.manifest.runtime.longest_target * Math.max(1, length / this.longestSource)) + 1;
  }

  /** Return the text of a hypothesis; an unknown token becomes the source token that was read for it. */
  #text(hypothesis, source) {
    const decoder = this.targetTokenizer.streamDecoder();
    const parts = hypothesis.ids.map((id, place) => {
      const part = decoder.push(id);
      return id === UNKNOWN_ID ? part.replaceAll(this.#unknown, () => copied(hypothesis, place, source)) : part;
    });
    return parts.join("") + decoder.finish();
  }

  #alignment(hypothesis, source) {
    const output = hypothesis.ids.map((id, place) =>
      id === UNKNOWN_ID ? copied(hypothesis, place, source) : this.targetTokenizer.tokenText(id),
    );
    const weights = hypothesis.attention.map((row) => Array.from(row.subarray(0, source.ids.length)));
    return { source: source.pieces, output, weights };
  }
}

/** Return the source token with the highest attention, among unknown ones if there are any. */
function copied(hypothesis, place, { ids, pieces }) {
  const weights = hypothesis.attention[place];
  const all = Array.from(ids.keys());
  const unknown = all.filter((index) => ids[index] === UNKNOWN_ID);
  const among = unknown.length ? unknown : all;
  return pieces[among.reduce((best, index) => (weights[index] > weights[best] ? index : best))];
}

/** Return the rows of an array whose first axis has `count`. */
function rowsOf(data, count) {
  const size = data.length / count;
  return Array.from({ length: count }, (_, row) => data.subarray(row * size, (row + 1) * size));
}

function joined(rows) {
  const all = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, index) => all.set(row, index * row.length));
  return all;
}

function withoutUndefined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
