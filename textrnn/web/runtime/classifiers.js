/** Runtimes of text classifiers, as `textrnn.runtime.text_classifier` and `textrnn.classification`. */
import { UserError, shown } from "./errors.js";
import { byDescendingValue, logSoftmax } from "./sampling.js";

const BATCH_TOKENS = 1 << 11; // read at once, with padding
const SHORTEST = 16; // smallest length that a text is padded to

/** Text classifier of a bundle. */
export class Classifier {
  #graphs;

  constructor(manifest, tokenizer, graphs) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.labels = manifest.labels;
    this.maxLength = manifest.runtime.max_length;
    this.#graphs = graphs;
  }

  /** Predict the label of each text: [{label, probability, probs, tokens, tokensRead}]. */
  async classify(texts) {
    if (typeof texts === "string" || typeof texts?.[Symbol.iterator] !== "function") {
      throw new UserError(`texts must be several strings, was: ${shown(texts)}; put it in an array`);
    }
    const encoded = Array.from(texts, (text) => this.tokenizer.encode(text));
    const read = encoded.map((ids) => headAndTail(ids, this.maxLength));
    const segmentLength = this.manifest.runtime.segment_length;
    const padded = (length) => paddedLength(length, segmentLength);
    const predictions = [];
    for (const { rows, time } of likeLengths(read.map((ids) => ids.length), padded, BATCH_TOKENS)) {
      const ids = new Int32Array(rows.length * time);
      rows.forEach((row, index) => ids.set(read[row], index * time));
      const { logits } = await this.#graphs.run("classify", { ids: ["int32", ids, [rows.length, time]] });
      rows.forEach((row, index) => {
        const size = this.labels.length;
        const found = this.predictionOf(logits.data.subarray(index * size, (index + 1) * size));
        predictions[row] = { ...found, tokens: encoded[row].length, tokensRead: read[row].length };
      });
    }
    return predictions;
  }

  /** Return the prediction for a row of logits. */
  predictionOf(logits) {
    return mostProbable(this.labels, logits);
  }
}

/** Text classifier of a bundle whose texts have any number of labels. */
export class MultilabelClassifier extends Classifier {
  predictionOf(logits) {
    const values = Float64Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
    const { thresholds } = this.manifest.runtime;
    const chosen = byDescendingValue(values).filter((index) => values[index] >= thresholds[index]);
    return { labels: chosen.map((index) => this.labels[index]), probs: byLabel(this.labels, values) };
  }
}

/** Return the prediction of one class: {label, probability, probs}. */
export function mostProbable(labels, logits) {
  const values = logSoftmax(Float64Array.from(logits)).map(Math.exp);
  const best = values.indexOf(Math.max(...values));
  return { label: labels[best], probability: values[best], probs: byLabel(labels, values) };
}

function byLabel(labels, values) {
  return Object.fromEntries(labels.map((label, index) => [label, values[index]]));
}

/** Return the ids of a text; of one longer than `maxLength` the first and last maxLength/2. */
function headAndTail(ids, maxLength) {
  if (ids.length <= maxLength) return ids;
  const tail = Math.floor(maxLength / 2);
  return Int32Array.of(...ids.subarray(0, maxLength - tail), ...ids.subarray(ids.length - tail));
}

/** Return the length that a batch is padded to, as `textrnn.classification.padded_length`. */
function paddedLength(length, segmentLength) {
  length = Math.max(1, length);
  const unit = segmentLength > 0 && segmentLength < length ? segmentLength : SHORTEST;
  const needed = Math.ceil(length / unit);
  const step = 1 << Math.max(0, 32 - Math.clz32(needed) - 3);
  const padded = Math.ceil(needed / step) * step * unit;
  return length <= segmentLength ? Math.min(padded, segmentLength) : padded;
}

/** Yield batches of sequences of similar length, the shortest first: {rows, time}. */
export function* likeLengths(lengths, padded, room) {
  const order = Array.from(lengths.keys()).sort((one, other) => lengths[one] - lengths[other] || one - other);
  for (let begin = 0; begin < order.length; ) {
    let end = begin + 1;
    while (end < order.length && (end + 1 - begin) * padded(lengths[order[end]]) <= room) end++;
    const rows = order.slice(begin, end);
    yield { rows, time: padded(lengths[rows.at(-1)]) };
    begin = end;
  }
}
