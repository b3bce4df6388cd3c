async () => {
  const { compare } = await import("/tests/golden_runtimes.mjs");
  const { AudioFormat } = await import("/web/runtime/audio/recordings.js");
  const { readTokenizer, weightFiles } = await import("/web/runtime/bundle.js");
  const { UserError } = await import("/web/runtime/errors.js");
  const { loadModel } = await import("/web/runtime/model.js");
  const { randomStream } = await import("/web/runtime/random.js");
  const ort = await import("/onnxruntime/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1;
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const load = (folder) => {
    const read = (name) => bytes(`${folder}/${name}`);
    const open = async (manifest, file) => {
      const names = weightFiles(manifest);
      const externalData = await Promise.all(names.map(async (path) => ({ path, data: await read(path) })));
      return ort.InferenceSession.create(await read(file), { executionProviders: ["wasm"], externalData });
    };
    return loadModel({ read, open, Tensor: ort.Tensor });
  };
  const tokenizer = async (folder, kind) =>
    readTokenizer(kind, await bytes(`${folder}/${kind === "sentencepiece" ? "tokenizer.model" : "tokenizer.json"}`));
  const cases = await (await fetch("/cases.json")).json();
  const runtime = { load, tokenizer, recording: bytes, AudioFormat, randomStream, UserError };
  return compare(cases, runtime, { otherKernels: true });
};
