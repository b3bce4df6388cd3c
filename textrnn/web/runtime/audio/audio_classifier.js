/** Runtime of classifiers of recordings: log-mel frames, as in training, to the graph of a classifier of vectors. */
import { mostProbable } from "../classifiers.js";
import { VectorReader } from "../vector_models.js";
import { AudioFormat } from "./recordings.js";

/** Classifier of recordings. */
export class AudioClassifier {
  #reader;

  constructor(manifest, _tokenizer, graphs, { readFile }) {
    this.manifest = manifest;
    this.labels = manifest.labels;
    this.format = new AudioFormat(manifest.runtime.audio, readFile);
    this.#reader = new VectorReader(manifest, graphs, "classify");
    this.features = this.#reader.features;
  }

  /** Predict the class of each recording: [{label, probability, probs}]. Recordings are those of `AudioFormat.frames`. */
  async classify(recordings) {
    const frames = await this.format.framesOf(recordings);
    return (await this.#reader.readSequences(frames)).map((logits) => mostProbable(this.labels, logits));
  }
}
