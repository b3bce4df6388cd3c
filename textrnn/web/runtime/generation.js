/**
 * The loop that generates text, as `textrnn.generation`, with the same random numbers for the same seed.
 *
 * A writer reads the last tokens of a batch, draws the next ones and returns them: {tokens, state}, where `tokens` has
 * one array of ids a row. A state is {data, batch}: a Float32Array (layers, batch, hidden).
 */
import { UserError, requireWholeNumber, shown } from "./errors.js";
import { randomSeed, randomStream } from "./random.js";
import { byDescendingValue, logSoftmax, sample } from "./sampling.js";
import { END_ID } from "./tokenizers.js";

export const CHUNK = 32; // tokens a call of the generate graph
const DRAWN_AHEAD = 16 * CHUNK;

const DEFAULTS = {
  length: 200,
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  beams: 1,
  stop: [],
  count: 1,
  seed: null,
  signal: null,
};
const SAMPLING = ["temperature", "topK", "topP", "minP", "repetitionPenalty"];

/** Return options of generation with the defaults, checked. */
export function checkedOptions(given) {
  for (const name of Object.keys(given)) {
    if (!(name in DEFAULTS)) {
      throw new UserError(`an option must be one of ${Object.keys(DEFAULTS).join(", ")}, was: ${shown(name)}; leave it out`);
    }
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const options = { ...DEFAULTS, ...set };
  const isNumber = (name, holds) => typeof options[name] === "number" && holds(options[name]);
  const rule = (name, isRight, text, advice) => {
    if (!isRight) throw new UserError(`${name} must be ${text}, was: ${shown(options[name])}; ${advice}`);
  };
  const finite = (value) => Number.isFinite(value);
  rule("temperature", isNumber("temperature", (t) => t >= 0 && finite(t)), "0 or above", "use 0.2 to 1.2 for most text");
  rule("topP", isNumber("topP", (p) => p > 0 && p <= 1), "above 0 and at most 1", "use 1 to keep all tokens");
  rule("minP", isNumber("minP", (p) => p >= 0 && p <= 1), "between 0 and 1", "use 0 to keep all tokens");
  const isPenalty = isNumber("repetitionPenalty", (p) => p > 0 && finite(p));
  rule("repetitionPenalty", isPenalty, "above 0", "use 1 for none, 1.1 to 1.3 for less repetition");
  requireWholeNumber("topK", options.topK, 0, "use 0 to keep all tokens");
  requireWholeNumber("length", options.length, 0, "give a number of tokens");
  requireWholeNumber("beams", options.beams, 1, "use 1 to sample");
  requireWholeNumber("count", options.count, 1, "give a number of texts");
  if (typeof options.seed === "bigint" ? options.seed < 0n : options.seed !== null) {
    requireWholeNumber("seed", options.seed, 0, "leave it out for a new text, or give a BigInt above 2^53");
  }
  options.stop = typeof options.stop === "string" ? [options.stop] : options.stop;
  if (!Array.isArray(options.stop) || !options.stop.every((text) => typeof text === "string" && text)) {
    throw new UserError(`stop must be strings of at least one character, was: ${shown(given.stop)}; leave out empty ones`);
  }
  if (options.beams > 1) {
    const changed = ["count", ...SAMPLING].find((name) => options[name] !== DEFAULTS[name]);
    if (changed) {
      throw new UserError(`beam search does not sample, ${changed} was: ${options[changed]}; use beams or ${changed}`);
    }
  }
  return options;
}

/** Return the use of the graph that generates with these options, of those that a bundle has: see `graph_of`. */
export function graphOf(options, graphs) {
  const changed = SAMPLING.filter((name) => name !== "temperature" && options[name] !== DEFAULTS[name]);
  if (options.beams > 1 || changed.includes("repetitionPenalty")) return "step";
  if (!changed.length || options.temperature === 0) return "generate"; // at 0 all keep the most probable token
  return "filtered" in graphs ? "filtered" : "step";
}

/** Return rows of a state: {data, batch} of the given row numbers. */
export function stateRows({ data, batch }, rows, hidden) {
  const layers = data.length / (batch * hidden);
  const chosen = new Float32Array(layers * rows.length * hidden);
  for (let layer = 0; layer < layers; layer++) {
    rows.forEach((row, index) => {
      const begin = (layer * batch + row) * hidden;
      chosen.set(data.subarray(begin, begin + hidden), (layer * rows.length + index) * hidden);
    });
  }
  return { data: chosen, batch: rows.length };
}

/** Return a writer that supports every option, from one step of the model. */
export function stepWriter(step, promptIds, options, neverDrawn) {
  const seen = Array.from({ length: options.count }, () => new Set(promptIds));
  return async (ids, state, uniforms, texts) => {
    const tokens = ids.map(() => []);
    for (let position = 0; position < uniforms[0].length; position++) {
      const read = await step(ids, state);
      state = read.state;
      ids = read.logits.map((logits, row) => {
        const id = sample(allowed(logits, neverDrawn), options, uniforms[row][position], seen[texts[row]]);
        seen[texts[row]].add(id);
        tokens[row].push(id);
        return id;
      });
    }
    return { tokens, state };
  };
}

/**
 * Yield [index of the text, its next piece] of `options.count` texts as one batch. A row leaves it when its text ends.
 *
 * `last` is the last token that is not yet read, and `state` the state before it.
 */
export async function* sampled(write, chunk, last, state, hidden, tokenizer, prompt, options) {
  const rows = Array.from({ length: options.count }, (_, row) => row);
  const seed = options.seed ?? randomSeed();
  const streams = rows.map((row) => randomStream(seed, row));
  const texts = rows.map(() => new StoppedText(tokenizer, prompt, options.stop));
  let running = rows;
  let ids = rows.map(() => last);
  let drawn;
  state = stateRows(state, rows.map(() => 0), hidden);
  for (let begin = 0; begin < options.length; begin += chunk) {
    options.signal?.throwIfAborted();
    const steps = Math.min(chunk, options.length - begin);
    const place = begin % DRAWN_AHEAD;
    if (!place) drawn = running.map((index) => streams[index](Math.min(DRAWN_AHEAD, options.length - begin)));
    const uniforms = drawn.map((values) => values.subarray(place, place + steps));
    const written = await write(ids, state, uniforms, running);
    const kept = [];
    for (const [row, index] of running.entries()) {
      const [text, tokens] = [texts[index], written.tokens[row]];
      const end = tokens.indexOf(END_ID);
      let piece = text.push(end < 0 ? tokens : tokens.slice(0, end));
      if ((end >= 0 || begin + steps === options.length) && !text.ended) piece += text.end();
      if (piece) yield [index, piece];
      if (!text.ended) kept.push(row);
    }
    if (!kept.length) return;
    ids = kept.map((row) => written.tokens[row].at(-1));
    state = kept.length < running.length ? stateRows(written.state, kept, hidden) : written.state;
    drawn = kept.map((row) => drawn[row]);
    running = kept.map((row) => running[row]);
  }
}

/** A streamed text: it ends before the first complete stop string, and never shows a part of one. */
class StoppedText {
  #decoder;
  #stop;
  #held = ""; // final text that may be the beginning of a stop string
  ended = false;

  constructor(tokenizer, prompt, stop) {
    this.#decoder = tokenizer.streamDecoder(prompt);
    this.#stop = stop;
  }

  push(ids) {
    let text = "";
    for (const id of ids) text += this.#decoder.push(id);
    return this.#release(text);
  }

  end() {
    let piece = this.#release(this.#decoder.finish());
    if (!this.ended) {
      this.ended = true;
      piece += this.#held;
    }
    return piece;
  }

  #release(piece) {
    if (!this.#stop.length) return piece;
    const text = this.#held + piece;
    const cut = stopPosition(text, this.#stop);
    if (cut !== null) {
      this.ended = true;
      return text.slice(0, cut);
    }
    const held = longestBeginning(text, this.#stop);
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }
}

/** Return the start of the stop string that is complete first, the longest among several; null if there is none. */
function stopPosition(text, stop) {
  let best = null;
  for (const string of stop) {
    const begin = text.indexOf(string);
    if (begin < 0) continue;
    const end = begin + string.length;
    if (!best || end < best.end || (end === best.end && begin < best.begin)) best = { begin, end };
  }
  return best && best.begin;
}

/** Return the length of the longest suffix of a text that is a prefix of a stop string. */
function longestBeginning(text, stop) {
  let length = Math.min(text.length, Math.max(...stop.map((string) => string.length)) - 1);
  while (length > 0 && !stop.some((string) => string.startsWith(text.slice(text.length - length)))) length--;
  return Math.max(length, 0);
}

/** Return the most probable continuation by beam search; the score is the sum of log-probabilities. */
export async function searched(step, last, state, hidden, tokenizer, prompt, options, neverDrawn) {
  const width = options.beams;
  const textOfBeam = (beam) => tokenizer.decode(idsOfBeam(beam), prompt);
  const isStopped = (beam) => options.stop.length > 0 && stopPosition(textOfBeam(beam), options.stop) !== null;
  let read = await step([last], state);
  let beams = [null];
  let scores = [0];
  let [best, bestScore] = [null, -Infinity];
  for (let position = 1; position <= options.length; position++) {
    options.signal?.throwIfAborted();
    const vocabularySize = read.logits[0].length;
    const totals = new Float64Array(beams.length * vocabularySize);
    read.logits.forEach((logits, row) => {
      const logProbs = logSoftmax(allowed(logits, neverDrawn));
      logProbs.forEach((value, id) => (totals[row * vocabularySize + id] = scores[row] + value));
    });
    const kept = [];
    // At most `width` of the candidates are end tokens, so at least `width` can continue.
    for (const candidate of byDescendingValue(totals).slice(0, 2 * width)) {
      if (totals[candidate] === -Infinity) break;
      const [row, token] = [Math.floor(candidate / vocabularySize), candidate % vocabularySize];
      const beam = token === END_ID ? beams[row] : { before: beams[row], token };
      if (token === END_ID || position === options.length || isStopped(beam)) {
        if (totals[candidate] > bestScore) [best, bestScore] = [beam, totals[candidate]];
      } else if (kept.length < width) {
        kept.push({ row, token, beam, score: totals[candidate] });
      }
    }
    if (!kept.length || bestScore >= kept[0].score) break; // the score of a beam never increases
    beams = kept.map(({ beam }) => beam);
    scores = kept.map(({ score }) => score);
    const rows = kept.map(({ row }) => row);
    read = await step(kept.map(({ token }) => token), stateRows(read.state, rows, hidden));
  }
  const text = new StoppedText(tokenizer, prompt, options.stop);
  const written = text.push(idsOfBeam(best));
  return text.ended ? written : written + text.end();
}

function idsOfBeam(beam) {
  const ids = [];
  for (; beam; beam = beam.before) ids.push(beam.token);
  return ids.reverse();
}

/** Return a row of logits as a Float64Array, with -Infinity for tokens that are never drawn. */
function allowed(logits, neverDrawn) {
  const row = Float64Array.from(logits);
  for (const id of neverDrawn) row[id] = -Infinity;
  return row;
}
