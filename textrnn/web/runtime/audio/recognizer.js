/** Runtime of recognizers of speech: log-mel frames, as in training, to texts, as `textrnn.runtime.recognizer`. */
import { UserError, requireWholeNumber, shown } from "../errors.js";
import { LanguageModel } from "../language_model.js";
import { logSoftmax } from "../sampling.js";
import { END_ID, FIRST_CHARACTER, UNKNOWN_ID } from "../tokenizers.js";
import { VectorReader } from "../vector_models.js";
import { BLANK, beamSearch, greedy, logProbability } from "./ctc.js";
import { AudioFormat, SHIFT_MS } from "./recordings.js";

const BEAMS = 8; // prefixes of the beam search, where a language model needs one
const OPTIONS = ["beams", "lm", "alpha", "beta"];

/** Recognizer of speech. */
export class Recognizer {
  #reader;

  constructor(manifest, tokenizer, graphs, { readFile }) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.format = new AudioFormat(manifest.runtime.audio, readFile);
    this.frameStack = manifest.runtime.frame_stack;
    this.#reader = new VectorReader(manifest, graphs, "recognize", this.frameStack);
    this.features = this.#reader.features;
    const outputs = manifest.graphs.recognize.outputs[0].shape.at(-1);
    if (outputs !== tokenizer.vocabularySize) {
      throw new UserError(`the bundle has ${tokenizer.vocabularySize} tokens and ${outputs} outputs; export it again`);
    }
  }

  /** Return the text of each recording: [{text, score, logProb, probability, candidates, seconds}]. */
  async transcribe(recordings, options = {}) {
    const { beams, lm, alpha, beta } = checkedOptions(options);
    const scorer = lm ? new CharacterScorer(lm, this.tokenizer) : null;
    const frames = await this.format.framesOf(recordings);
    const found = [];
    for (const [number, logits] of (await this.#reader.readSequences(frames)).entries()) {
      const rows = this.#logProbs(logits, Math.floor(frames[number].length / this.features / this.frameStack));
      const weights = scorer ? [scorer, alpha, beta] : [];
      const isGreedy = beams === 1 && !scorer;
      const best = isGreedy ? [mostProbablePath(rows)] : await beamSearch(rows, beams, ...weights);
      const candidates = best.map(({ ids, logProb, score }) => {
        return { text: this.tokenizer.decode(ids), score, logProb, probability: Math.exp(logProb) };
      });
      const seconds = (frames[number].length / this.features) * (SHIFT_MS / 1000);
      found.push({ ...candidates[0], candidates, seconds });
    }
    return found;
  }

  /** Return the log-probabilities of each step of a recording, from the logits of its row in a batch. */
  #logProbs(logits, steps) {
    const size = this.tokenizer.vocabularySize;
    return Array.from({ length: steps }, (_, step) => {
      const row = logSoftmax(logits.subarray(step * size, (step + 1) * size));
      return row.fill(-Infinity, BLANK + 1, FIRST_CHARACTER); // tokens that no transcript has
    });
  }
}

function mostProbablePath(rows) {
  const ids = greedy(rows);
  const logProb = logProbability(rows, ids);
  return { ids, logProb, score: logProb };
}

function checkedOptions(given) {
  const odd = Object.keys(given).find((name) => !OPTIONS.includes(name));
  if (odd) throw new UserError(`an option must be one of ${OPTIONS.join(", ")}, was: ${shown(odd)}; leave it out`);
  const { lm, alpha = 0.5, beta = 0.5 } = given;
  const { beams = lm ? BEAMS : 1 } = given;
  requireWholeNumber("beams", beams, 1, "8 is usual, 1 is greedy");
  for (const [name, value] of Object.entries({ alpha, beta })) {
    if (!Number.isFinite(value)) throw new UserError(`${name} must be a number, was: ${shown(value)}; 0.5 is usual`);
  }
  if (lm && !(lm instanceof LanguageModel)) throw new UserError("lm must be a language model; give one that was loaded");
  return { beams, lm, alpha, beta };
}

/**
 * A language model of characters that scores the tokens of a recognizer, as `beamSearch` asks.
 *
 * A character that the language model does not know is as improbable as the least probable of the others.
 */
class CharacterScorer {
  #model;
  #ids; // token of the language model for each of the recognizer, or UNKNOWN_ID
  #ends;

  constructor(model, tokenizer) {
    const { kind } = model.manifest.tokenizer;
    if (kind !== "char") {
      throw new UserError(`a language model for transcripts must read characters, it reads tokens of ${kind}; train one`);
    }
    this.#model = model;
    this.hiddenDim = model.hiddenDim;
    this.#ids = Array.from({ length: tokenizer.vocabularySize }, (_, token) => {
      return token < FIRST_CHARACTER ? UNKNOWN_ID : model.tokenizer.encodeWhole(tokenizer.tokenText(token)).ids[0];
    });
    this.#ends = model.startId === END_ID || model.tokenizer.tokenText(model.startId) === "\n";
    if (this.#ends) this.#ids[BLANK] = model.startId; // a text ends with what is between two of them
  }

  begin() {
    return this.#after([this.#model.startId], this.#model.initialState());
  }

  read(tokens, state) {
    return this.#after(tokens.map((token) => this.#ids[token]), state);
  }

  async #after(ids, state) {
    const read = await this.#model.step(ids, state);
    const logProbs = read.logits.map((logits) => {
      const all = logSoftmax(logits);
      const least = all.reduce((low, value) => Math.min(low, value));
      const found = this.#ids.map((id) => (id === UNKNOWN_ID ? least : all[id]));
      if (!this.#ends) found[BLANK] = 0;
      return found;
    });
    return { logProbs, state: read.state };
  }
}
