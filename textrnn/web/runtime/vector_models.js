/** Runtimes of models that read numbers: classifier and regressor of vectors, forecaster of series. */
import { likeLengths, mostProbable } from "./classifiers.js";
import { UserError, requireWholeNumber, shown } from "./errors.js";

const BATCH_VALUES = 1 << 22; // numbers of a layer's states, or of its input, that are read at once
const READ_AT_ONCE = 1 << 20; // forecast numbers in memory while a series is read

/** Reader of the one graph of a bundle of vectors. */
export class VectorReader {
  #graphs;
  #use;
  #shortest;

  /** `shortest` is the least number of steps of a batch. */
  constructor(manifest, graphs, use, shortest = manifest.runtime.stride) {
    this.manifest = manifest;
    this.features = manifest.graphs[use].inputs[0].shape.at(-1);
    this.#graphs = graphs;
    this.#use = use;
    this.#shortest = shortest;
  }

  /** Return the outputs of each record, in their order. */
  async read(records) {
    if (!Array.isArray(records)) {
      throw new UserError(`a model of vectors reads several records, was given: ${shown(records)}; give an array of them`);
    }
    const { steps } = this.manifest.runtime;
    return this.readSequences(records.map((record, index) => this.#sequence(record, steps, `record ${index + 1}`)));
  }

  /** Return the outputs of each sequence, a Float32Array (time * features), in their order. */
  async readSequences(sequences) {
    const { features } = this;
    const lengths = sequences.map((sequence) => sequence.length / features);
    const room = Math.max(1, Math.floor(BATCH_VALUES / Math.max(features, this.manifest.runtime.hidden_dim)));
    const results = [];
    for (const { rows, time } of likeLengths(lengths, (length) => Math.max(length, this.#shortest), room)) {
      const vectors = new Float32Array(rows.length * time * features);
      rows.forEach((row, index) => vectors.set(sequences[row], index * time * features));
      const found = await this.#graphs.run(this.#use, {
        vectors: ["float32", vectors, [rows.length, time, features]],
        lengths: ["int32", Int32Array.from(rows, (row) => lengths[row]), [rows.length]],
      });
      const { data } = Object.values(found)[0];
      const size = data.length / rows.length;
      rows.forEach((row, index) => (results[row] = data.slice(index * size, (index + 1) * size)));
    }
    return results;
  }

  /** Return the numbers of a record in time order, checked: `time * features`. */
  #sequence(record, steps, place) {
    const { shape, numbers } = flattened(record, place);
    if (shape.length > 3) {
      throw new UserError(`a record must have 1 to 3 dimensions, ${place} has ${shape.length}; give values over time`);
    }
    if (!numbers.length) throw new UserError(`a record must have a step at least, ${place} has none; leave it out`);
    const width = shape.slice(steps === "rows" ? 1 : 2).reduce((product, size) => product * size, 1);
    if (width !== this.features) {
      throw new UserError(
        `a step must have the ${this.features} values that the model reads, those of ${place} have ${width}; ` +
          "give several records, as those trained on were",
      );
    }
    return numbers;
  }
}

/** Classifier of sequences of vectors. */
export class VectorClassifier {
  #reader;

  constructor(manifest, _tokenizer, graphs) {
    this.manifest = manifest;
    this.labels = manifest.labels;
    this.#reader = new VectorReader(manifest, graphs, "classify");
    this.features = this.#reader.features;
  }

  /** Predict the class of each record, an array of numbers of 1 to 3 dimensions: [{label, probability, probs}]. */
  async classify(records) {
    return (await this.#reader.read(records)).map((logits) => mostProbable(this.labels, logits));
  }
}

/** Regression model of sequences of vectors. */
export class Regressor {
  #reader;

  constructor(manifest, _tokenizer, graphs) {
    this.manifest = manifest;
    this.#reader = new VectorReader(manifest, graphs, "regress");
    this.features = this.#reader.features;
  }

  /** Predict the values of each record, in the units of the targets. */
  async predict(records) {
    return (await this.#reader.read(records)).map((values) => Array.from(values));
  }
}

/** Forecaster of time series. */
export class Forecaster {
  #graphs;
  #layers;
  #hidden;

  constructor(manifest, _tokenizer, graphs) {
    this.manifest = manifest;
    this.#graphs = graphs;
    const { inputs, outputs } = manifest.graphs.step;
    [this.#layers, , this.#hidden] = inputs[1].shape;
    [, this.horizon, this.features] = outputs[0].shape;
  }

  /** Forecast the `steps` steps after a history (time, features), or (time,) for one feature: (steps, features). */
  async forecast(values, steps = this.horizon) {
    requireWholeNumber("steps", steps, 1, `the model predicts ${this.horizon} at once`);
    const { features, horizon } = this;
    const block = horizon * features;
    const atOnce = Math.max(1, Math.floor(READ_AT_ONCE / block));
    let history = this.#checked(values);
    let state = new Float32Array(this.#layers * this.#hidden);
    const found = [];
    while (found.length < steps) {
      let latest;
      for (let begin = 0; begin < history.length; begin += atOnce * features) {
        const part = history.subarray(begin, begin + atOnce * features);
        const result = await this.#graphs.run("sequence", {
          vectors: ["float32", part, [1, part.length / features, features]],
          state: ["float32", state, [this.#layers, 1, this.#hidden]],
        });
        latest = result.forecast.data.slice(-block);
        state = result.next_state.data;
      }
      for (let step = 0; step < horizon; step++) {
        found.push(Array.from(latest.subarray(step * features, (step + 1) * features)));
      }
      history = latest;
    }
    return found.slice(0, steps);
  }

  #checked(values) {
    const { shape, numbers } = flattened(values, "the history");
    const isRight = shape.length === 2 ? shape[1] === this.features : shape.length === 1 && this.features === 1;
    if (!isRight || !numbers.length) {
      throw new UserError(
        `values must be (time, features) of a step or more, the history is (${shape}); the model reads ` +
          `${this.features} values a step`,
      );
    }
    return numbers;
  }
}

/** Return the shape and the numbers of nested arrays. */
function flattened(value, place) {
  const isList = (item) => Array.isArray(item) || ArrayBuffer.isView(item);
  if (!isList(value)) throw new UserError(`${place} must be an array of numbers, was: ${shown(value)}; give an array`);
  const shape = [];
  for (let item = value; isList(item); item = item[0]) shape.push(item.length);
  const numbers = [];
  const collect = (item, depth) => {
    if (depth === shape.length ? isList(item) : !isList(item) || item.length !== shape[depth]) {
      throw new UserError(`an array must have as many numbers in each row, those of ${place} differ; pad them`);
    }
    if (depth < shape.length) {
      for (const inner of item) collect(inner, depth + 1);
    } else if (typeof item === "number" && Number.isFinite(Math.fround(item))) {
      numbers.push(item);
    } else {
      throw new UserError(`values must be finite numbers, ${place} has: ${shown(item)}; mend it, or leave it out`);
    }
  };
  collect(value, 0);
  return { shape, numbers: Float32Array.from(numbers) };
}
