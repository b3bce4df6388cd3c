/** The manifest of a bundle, and its tokenizer. */
import { UserError, shown } from "./errors.js";
import { SentencePieceTokenizer } from "./sentencepiece.js";
import { CharTokenizer, WordTokenizer, textOf } from "./tokenizers.js";

const FORMAT = "textrnn-bundle";
const FORMAT_VERSION = 1;
const PLAIN_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

/** Return the manifest from the bytes of manifest.json, checked as far as a runtime needs it. */
export function readManifest(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(textOf(bytes));
  } catch (error) {
    throw new UserError(`manifest.json must be JSON, it is damaged: ${error.message}; copy or export the bundle again`);
  }
  if (manifest?.format !== FORMAT) {
    throw new UserError(`manifest.json must have "format": "${FORMAT}", it has not; it belongs to something else`);
  }
  const version = manifest.format_version;
  if (!Number.isInteger(version) || version < 1 || version > FORMAT_VERSION) {
    throw new UserError(
      `manifest.json has format ${shown(version)}, this textrnn reads ${FORMAT_VERSION}; upgrade textrnn or export again`,
    );
  }
  for (const section of ["graphs", "runtime", "files"]) {
    if (typeof manifest[section] !== "object" || !manifest[section]) {
      throw new UserError(`manifest.json must have ${section}, it has not; export the bundle again`);
    }
  }
  const odd = Object.keys(manifest.files).find((name) => !PLAIN_NAME.test(name));
  if (odd !== undefined) throw new UserError(`a file of a bundle must have a plain name, was: ${shown(odd)}; export it again`);
  const used = Object.values(manifest.graphs).map((graph) => graph.file);
  for (const { file } of [manifest.tokenizer, manifest.runtime.target_tokenizer].filter(Boolean)) used.push(file);
  const missing = used.find((name) => !Object.hasOwn(manifest.files, name));
  if (missing !== undefined) throw new UserError(`files must list every file in use, ${shown(missing)} is missing`);
  return manifest;
}

/** Throw a UserError unless a file has the size that the manifest says. */
export function checkSize(manifest, name, bytes) {
  const expected = manifest.files[name].bytes;
  if (bytes !== expected) {
    throw new UserError(`${name} must have ${expected} bytes as the manifest says, has ${bytes}; copy the bundle again`);
  }
}

/** Return the names of the files of weights, which the graphs refer to. */
export function weightFiles(manifest) {
  return Object.keys(manifest.files).filter((name) => name.endsWith(".bin") && manifest.files[name].bytes);
}

/** Return the tokenizer of a bundle from the bytes of its file. */
export function readTokenizer(kind, bytes) {
  if (kind === "sentencepiece") return new SentencePieceTokenizer(bytes);
  const document = JSON.parse(textOf(bytes));
  if (document.format_version !== 1 || document.kind !== kind) {
    throw new UserError(`tokenizer.json must be of kind ${kind} and version 1, is not; upgrade textrnn or export it again`);
  }
  if (kind === "char") return new CharTokenizer(document.characters);
  if (kind === "word") return new WordTokenizer(document.words, document);
  throw new UserError(`a tokenizer kind must be char, word or sentencepiece, was: ${shown(kind)}; upgrade textrnn`);
}
