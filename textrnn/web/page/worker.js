/**
 * Worker of the page: loads the model and answers its calls.
 *
 * It receives {id, call, args} and posts {id, result}, {id, error}, {id, piece} while text is written, and {loaded},
 * the bytes read so far. {stop: id} ends a call. The files come from the folder of the page or, in a page that is one
 * file, from its text.
 */
import { weightFiles } from "../runtime/bundle.js";
import { loadModel } from "../runtime/model.js";

let model;
const running = new Map();

/** Load the model; `inside` holds the files of a page that is one file (gzip, base64), else null. */
async function load({ folder, inside, runtime }) {
  const read = async (name) => unzipped(inside ? bytesOfBase64(inside[name]) : await fetched(new URL(`${name}.gz`, folder)));
  const [ort, wasm] = await Promise.all([importedRuntime(read, folder, inside, runtime.module), read(runtime.wasm)]);
  ort.env.wasm.numThreads = 1; // more need headers that isolate the page
  ort.env.wasm.wasmBinary = wasm;
  const readModelFile = remembered((name) => read(`model/${name}`));
  const open = async (manifest, file) => {
    const names = weightFiles(manifest);
    const [graph, ...weights] = await Promise.all([file, ...names].map(readModelFile));
    const externalData = names.map((path, index) => ({ path, data: weights[index] }));
    return ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData, logSeverityLevel: 4 });
  };
  model = await loadModel({ read: readModelFile, open, Tensor: ort.Tensor });
  const { labels, features, horizon, manifest } = model;
  const bytes = Object.values(manifest.files).reduce((total, file) => total + file.bytes, 0);
  const { precision } = manifest;
  const kind = manifest.kind === "vector_classifier" && manifest.runtime.audio ? "audio_classifier" : manifest.kind;
  return { kind, precision, labels, features, horizon, bytes, prompt: manifest.runtime.prompt ?? "" };
}

async function importedRuntime(read, folder, inside, module) {
  if (!inside) return import(new URL(module, folder));
  const url = URL.createObjectURL(new Blob([await read(module)], { type: "text/javascript" }));
  return import(url);
}

let loaded = 0;

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: ${response.status} ${response.statusText}`);
  const parts = [];
  for (let reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    postMessage({ loaded: (loaded += value.length) });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function bytesOfBase64(text) {
  return Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Return bytes without gzip; some servers take it off on the way. */
async function unzipped(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function remembered(read) {
  const found = new Map();
  return (name) => {
    if (!found.has(name)) found.set(name, read(name));
    return found.get(name);
  };
}

const channel = new MessageChannel();
let resume = () => {};
channel.port1.onmessage = () => resume();

/** Let messages in, such as a stop; a timer would wait some milliseconds. */
function breath() {
  return new Promise((resolve) => {
    resume = resolve;
    channel.port2.postMessage(null);
  });
}

const CALLS = {
  load,
  async write({ prompt, options }, id, signal) {
    for await (const piece of model.stream(prompt, { ...options, signal })) {
      postMessage({ id, piece });
      await breath();
    }
  },
  transform: ({ inputs, options }) => model.transform(inputs, options),
  classify: ({ inputs }) => model.classify(inputs),
  transcribe: ({ inputs, options }) => model.transcribe(inputs, options),
  predict: ({ inputs }) => model.predict(inputs),
  forecast: ({ values, steps }) => model.forecast(values, steps),
};

onmessage = async ({ data: { id, call, args, stop } }) => {
  if (stop !== undefined) {
    running.get(stop)?.abort();
    return;
  }
  const controller = new AbortController();
  running.set(id, controller);
  try {
    postMessage({ id, result: await CALLS[call](args, id, controller.signal) });
  } catch (error) {
    postMessage(controller.signal.aborted ? { id } : { id, error: error.message });
  }
  running.delete(id);
};
