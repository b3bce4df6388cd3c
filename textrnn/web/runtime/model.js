/** Loading of a bundle: from a function that reads its files and the API of onnxruntime to a model of its kind. */
import { AudioClassifier } from "./audio/audio_classifier.js";
import { Recognizer } from "./audio/recognizer.js";
import { checkSize, readManifest, readTokenizer } from "./bundle.js";
import { Classifier, MultilabelClassifier } from "./classifiers.js";
import { UserError } from "./errors.js";
import { LanguageModel } from "./language_model.js";
import { Translator } from "./translator.js";
import { Forecaster, Regressor, VectorClassifier } from "./vector_models.js";

const KINDS = {
  language_model: [LanguageModel, ["generate"]],
  classifier: [Classifier, ["classify"]],
  multilabel_classifier: [MultilabelClassifier, ["classify"]],
  vector_classifier: [VectorClassifier, ["classify"]],
  regressor: [Regressor, ["regress"]],
  forecaster: [Forecaster, ["sequence"]],
  text_to_text: [Translator, ["encode", "decode"]],
  recognizer: [Recognizer, ["recognize"]],
};

/**
 * Return the model of a bundle.
 *
 * @param {object} host
 * @param {(name: string) => Promise<Uint8Array>} host.read - Reads a file of the bundle.
 * @param {(manifest: object, file: string) => Promise<object>} host.open - Opens a session of onnxruntime of a graph.
 * @param {Function} host.Tensor - The class of onnxruntime.
 * @param {(path: string) => Promise<Uint8Array>} [host.readFile] - Reads a recording, where there are files.
 */
export async function loadModel({ read, open, Tensor, readFile }) {
  const manifest = readManifest(await read("manifest.json"));
  if (!Object.hasOwn(KINDS, manifest.kind)) {
    throw new UserError(`a model must be one of ${Object.keys(KINDS).join(", ")}, is a ${manifest.kind}; upgrade textrnn`);
  }
  const [ofKind, firstGraphs] = KINDS[manifest.kind];
  const Model = ofKind === VectorClassifier && manifest.runtime.audio ? AudioClassifier : ofKind;
  const tokenizerOf = async ({ kind, file }) => {
    const bytes = await read(file);
    checkSize(manifest, file, bytes.length);
    return readTokenizer(kind, bytes);
  };
  const { tokenizer: ofSources, runtime: { target_tokenizer: ofTargets } } = manifest;
  const tokenizer = ofSources ? await tokenizerOf(ofSources) : null;
  const isShared = !ofTargets || ofTargets.file === ofSources?.file;
  const targetTokenizer = isShared ? tokenizer : await tokenizerOf(ofTargets);
  const graphs = new Graphs(manifest, open, Tensor);
  const model = new Model(manifest, tokenizer, graphs, { targetTokenizer, readFile });
  for (const use of firstGraphs) await graphs.session(use); // so that a broken bundle fails now
  return model;
}

/** Graphs of a bundle, each opened at its first use. */
class Graphs {
  #manifest;
  #open;
  #Tensor;
  #sessions = new Map();

  constructor(manifest, open, Tensor) {
    this.#manifest = manifest;
    this.#open = open;
    this.#Tensor = Tensor;
  }

  /** Return the session of the graph for a use. */
  session(use) {
    if (!this.#sessions.has(use)) {
      const graph = this.#manifest.graphs[use];
      if (!graph) throw new UserError(`a ${this.#manifest.kind} must have a ${use} graph, has none; export it again`);
      this.#sessions.set(use, this.#open(this.#manifest, graph.file));
    }
    return this.#sessions.get(use);
  }

  /** Run a graph; feeds are [type, data, shape] by name, results are tensors by name. */
  async run(use, feeds) {
    const session = await this.session(use);
    const tensors = {};
    for (const [name, [type, data, shape]] of Object.entries(feeds)) tensors[name] = new this.#Tensor(type, data, shape);
    return session.run(tensors);
  }
}
