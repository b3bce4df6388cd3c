/** Runtime of a language model: the step, sequence, generate and filtered graphs, as `textrnn.runtime.language_model`. */
import { UserError, requireWholeNumber } from "./errors.js";
import { CHUNK, checkedOptions, graphOf, sampled, searched, stepWriter } from "./generation.js";
import { byDescendingValue, logSoftmax } from "./sampling.js";
import { END_ID, bytesOf, checkText } from "./tokenizers.js";

const PREFILL_FROM = 64; // tokens of a prompt that the sequence graph reads
const PREFILL_LOGITS = 1 << 22; // most logits in memory while a prompt is read
const SCORE_LOGITS = 1 << 23; // the same while a text is scored
const SCORE_TOKENS = 1024;
const PLAIN = checkedOptions({});

/** Language model of a bundle: generates text, scores text and predicts the next token. */
export class LanguageModel {
  #graphs;
  #layers;
  #neverDrawn;
  #hasTemperatures;

  constructor(manifest, tokenizer, graphs) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.#graphs = graphs;
    const { inputs, outputs } = manifest.graphs.step;
    [this.#layers, , this.hiddenDim] = inputs.find(({ name }) => name === "state").shape;
    this.#neverDrawn = manifest.runtime.never_drawn;
    this.startId = manifest.start_id;
    const temperature = manifest.graphs.generate?.inputs.find(({ name }) => name === "temperature");
    this.#hasTemperatures = temperature?.shape.length === 1; // older bundles have one for all texts of a call
    const logits = outputs[0].shape.at(-1);
    if (logits !== tokenizer.vocabularySize) {
      throw new UserError(`the bundle has ${tokenizer.vocabularySize} tokens and ${logits} logits; export it again`);
    }
  }

  /** Generate a continuation of `prompt`, without the prompt itself. */
  async generate(prompt = "", options = {}) {
    let text = "";
    for await (const piece of this.stream(prompt, options)) text += piece;
    return text;
  }

  /** Yield the text of `generate` in pieces; a piece has whole characters and is final. */
  async *stream(prompt = "", options = {}) {
    if (options.count !== undefined) throw new UserError("count is for samples; leave it out");
    for await (const [, piece] of this.#write(prompt, checkedOptions(options))) yield piece;
  }

  /** Generate `options.count` texts as one batch. */
  async samples(prompt = "", options = {}) {
    const checked = checkedOptions(options);
    const texts = Array(checked.count).fill("");
    for await (const [index, piece] of this.#write(prompt, checked)) texts[index] += piece;
    return texts;
  }

  /** Measure how well the model predicts a text; the first token follows the start token. */
  async score(text) {
    const ids = this.tokenizer.encode(text);
    const logProbs = await this.tokenLogProbs(ids);
    const nats = -logProbs.reduce((total, value) => total + value, 0);
    const characters = Array.from(text).length;
    const bytes = bytesOf(text).length;
    return {
      nats,
      tokens: ids.length,
      characters,
      bytes,
      natsPerToken: nats / Math.max(ids.length, 1),
      perplexity: Math.exp(Math.min(nats / Math.max(ids.length, 1), 700)),
      bitsPerCharacter: nats / Math.LN2 / Math.max(characters, 1),
      bitsPerByte: nats / Math.LN2 / Math.max(bytes, 1),
    };
  }

  /** Return the log-probability in nats of each of the ids, given those before it. */
  async tokenLogProbs(ids) {
    const size = this.tokenizer.vocabularySize;
    const chunk = Math.max(1, Math.min(SCORE_TOKENS, Math.floor(SCORE_LOGITS / size)));
    const inputs = Int32Array.of(this.startId, ...ids.slice(0, -1));
    const logProbs = new Float64Array(ids.length);
    let state = this.initialState();
    for (let begin = 0; begin < ids.length; begin += chunk) {
      const read = await this.#read(inputs.subarray(begin, Math.min(begin + chunk, ids.length)), state);
      state = read.state;
      for (let place = 0; (place + 1) * size <= read.logits.length; place++) {
        const row = read.logits.subarray(place * size, (place + 1) * size);
        logProbs[begin + place] = logSoftmax(row)[ids[begin + place]];
      }
    }
    return logProbs;
  }

  /** Return the `top` most probable tokens after a text: [{text, probability}], the highest first. */
  async nextProbs(text, top = 10) {
    requireWholeNumber("top", top, 1, "give a number of tokens");
    const ids = Int32Array.of(this.startId, ...this.tokenizer.encode(text));
    const probs = logSoftmax((await this.#prefill(ids, this.initialState())).logits).map(Math.exp);
    const best = byDescendingValue(probs).slice(0, top);
    return best.map((id) => ({ text: this.tokenizer.tokenText(id), probability: probs[id] }));
  }

  async *#write(prompt, options) {
    checkText(prompt);
    const promptIds = this.tokenizer.encode(prompt);
    const before = Int32Array.of(this.startId, ...promptIds);
    const last = before.at(-1);
    const state = await this.#remember(before.subarray(0, -1), this.initialState());
    const step = (ids, state) => this.step(ids, state);
    const context = [this.hiddenDim, this.tokenizer, prompt, options];
    if (options.beams > 1) {
      const text = await searched(step, last, state, ...context, this.#neverDrawn);
      if (text) yield [0, text];
    } else if (graphOf(options, this.manifest.graphs) === "step") {
      yield* sampled(stepWriter(step, promptIds, options, this.#neverDrawn), 1, last, state, ...context);
    } else {
      const write = (ids, state, uniforms) => this.#writeChunk(options, ids, state, uniforms);
      yield* sampled(write, CHUNK, last, state, ...context);
    }
  }

  /** Return the state after ids, by the graph that Python uses for so many: they may differ in the last digit. */
  async #remember(ids, state) {
    if (!ids.length) return state;
    if (ids.length >= PREFILL_FROM) return (await this.#prefill(ids, state)).state;
    const given = Int32Array.of(...ids.subarray(1), ids[0]); // the token after each; the one after the last is not read
    return (await this.#runDrawing("generate", [ids[0]], state, given, new Float64Array(ids.length), PLAIN)).state;
  }

  async #prefill(ids, state) {
    const size = this.tokenizer.vocabularySize;
    const chunk = Math.max(1, Math.floor(PREFILL_LOGITS / size));
    let logits;
    for (let begin = 0; begin < ids.length; begin += chunk) {
      ({ logits, state } = await this.#read(ids.subarray(begin, begin + chunk), state));
    }
    return { logits: logits.subarray(logits.length - size), state };
  }

  /** Read a text (time,) with the sequence graph. */
  async #read(ids, state) {
    const feeds = { ids: ["int32", ids, [1, ids.length]], state: this.#tensor(state) };
    const found = await this.#graphs.run("sequence", feeds);
    return { logits: found.logits.data, state: { data: found.next_state.data, batch: 1 } };
  }

  /** Return the state before any text: {data, batch}, whose data are (layers, batch, hidden). */
  initialState() {
    return { data: new Float32Array(this.#layers * this.hiddenDim), batch: 1 };
  }

  /** Read one more token of each text: their logits, a row each, and the next state. */
  async step(ids, state) {
    const feeds = { ids: ["int32", Int32Array.from(ids), [ids.length]], state: this.#tensor(state) };
    const found = await this.#graphs.run("step", feeds);
    const logits = found.logits.data;
    const size = logits.length / ids.length;
    return {
      logits: ids.map((_, row) => logits.subarray(row * size, (row + 1) * size)),
      state: { data: found.next_state.data, batch: ids.length },
    };
  }

  async #writeChunk(options, ids, state, uniforms) {
    const [batch, steps] = [ids.length, uniforms[0].length];
    const byStep = new Float64Array(steps * batch);
    uniforms.forEach((values, row) => values.forEach((value, step) => (byStep[step * batch + row] = value)));
    const given = new Int32Array(steps * batch).fill(-1);
    const use = graphOf(options, this.manifest.graphs);
    const written = await this.#runDrawing(use, ids, state, given, byStep, options);
    if (written.tokens.some((token) => token < END_ID)) {
      throw new UserError("logits must be finite numbers, were not; the model is damaged, train it again");
    }
    const ofRow = (row) => Array.from({ length: steps }, (_, step) => written.tokens[step * batch + row]);
    return { tokens: ids.map((_, row) => ofRow(row)), state: written.state };
  }

  async #runDrawing(use, ids, state, given, uniforms, options) {
    const shape = [given.length / ids.length, ids.length];
    const ofEach = (type, Values, value) => [type, new Values(ids.length).fill(value), [ids.length]];
    const isOfEach = this.#hasTemperatures || use !== "generate";
    const filters = {
      top_k: ofEach("int32", Int32Array, Math.min(options.topK, this.tokenizer.vocabularySize)),
      top_p: ofEach("float64", Float64Array, options.topP),
      min_p: ofEach("float64", Float64Array, options.minP),
    };
    const found = await this.#graphs.run(use, {
      ids: ["int32", Int32Array.from(ids), [ids.length]],
      state: this.#tensor(state),
      given: ["int32", given, shape],
      uniforms: ["float64", uniforms, shape],
      temperature: isOfEach
        ? ofEach("float64", Float64Array, options.temperature)
        : ["float64", Float64Array.of(options.temperature), []],
      ...(use === "filtered" ? filters : {}),
    });
    return { tokens: found.tokens.data, state: { data: found.next_state.data, batch: ids.length } };
  }

  #tensor({ data, batch }) {
    return ["float32", data, [this.#layers, batch, this.hiddenDim]];
  }
}
