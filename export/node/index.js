/** Run models of textrnn in Node, with onnxruntime-node. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// A packed package has a copy of the modules of textrnn/web/runtime (package.json, prepack); a checkout reads them there.
const packed = new URL("./runtime/", import.meta.url);
const modules = existsSync(fileURLToPath(packed)) ? packed : new URL("../../textrnn/web/runtime/", import.meta.url);
const { UserError } = await import(new URL("errors.js", modules));
const { readManifest } = await import(new URL("bundle.js", modules));
const { loadModel } = await import(new URL("model.js", modules));

export { UserError };

/** Load the model of a bundle folder, or of a run folder with a bundle in it. */
export async function load(folder, { threads = 1 } = {}) {
  const { InferenceSession, Tensor } = await onnxruntime();
  const bundle = findBundle(folder);
  const read = async (name) => new Uint8Array(await readFile(join(bundle, name)));
  const manifest = readManifest(await read("manifest.json"));
  await Promise.all(Object.entries(manifest.files).map(([name, entry]) => checkFile(join(bundle, name), entry)));
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionProviders: ["cpu"], logSeverityLevel: 4 };
  const open = (_, file) => InferenceSession.create(join(bundle, file), options);
  const readRecording = async (path) => {
    try {
      return new Uint8Array(await readFile(path));
    } catch (error) {
      throw new UserError(`a recording must be a file that can be read, ${path} is not: ${error.code}; check its name`);
    }
  };
  return loadModel({ read, open, Tensor, readFile: readRecording });
}

function findBundle(folder) {
  const found = [folder, join(folder, "bundle")].find((path) => existsSync(join(path, "manifest.json")));
  if (found) return found;
  throw new UserError(`a model must be a bundle or a run folder, nothing was found at: ${folder}; check the name`);
}

async function checkFile(path, { sha256, bytes }) {
  const size = await stat(path).then((found) => found.size, () => null);
  if (size === null) throw new UserError(`${path} is missing, the manifest lists it; copy or export the bundle again`);
  const hash = size === bytes && createHash("sha256").update(await readFile(path)).digest("hex");
  if (hash !== sha256) {
    throw new UserError(`${path} must have the size and SHA-256 of the manifest, has not; copy or export the bundle again`);
  }
}

async function onnxruntime() {
  try {
    return (await import("onnxruntime-node")).default;
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new UserError("onnxruntime-node is needed, it was not found; install it: npm install onnxruntime-node");
  }
}
