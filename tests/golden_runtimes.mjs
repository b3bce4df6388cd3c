/**
 * Compares the JavaScript runtime with the cases of golden_runtimes.py.
 *
 *     node tests/golden_runtimes.mjs FOLDER/cases.json
 *
 * prints one line for each difference, then the number of comparisons. A browser imports `compare`.
 */

const TOLERANCE = 1e-5;
const TOLERANCE_OF_8_BITS = 0.01;

/**
 * Compare everything.
 *
 * @param {object} cases - The content of cases.json.
 * @param {object} runtime - {load(folder), tokenizer(folder, kind), recording(path), AudioFormat, randomStream,
 *   UserError}.
 * @param {object} options
 * @param {boolean} options.otherKernels - Whether the products are not those of Python's onnxruntime, as in a browser.
 *   A language model in 8 bits rounds its activations, which makes the last digit of a float32 a difference of 1e-4.
 *   Its texts are then not compared.
 * @returns {Promise<{compared: number, differences: string[]}>}
 */
export async function compare(cases, runtime, { otherKernels = false } = {}) {
  const differences = [];
  let compared = 0;
  const expect = (place, found, expected, tolerance = TOLERANCE) => {
    compared++;
    if (!isLike(found, expected, tolerance)) {
      differences.push(`${place}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`.slice(0, 600));
    }
  };
  for (const { seed, stream, values } of cases.uniforms) {
    const found = Array.from(runtime.randomStream(BigInt(seed), stream)(values.length));
    if (values.some((value, index) => value !== found[index])) expect(`seed ${seed}`, found, values);
  }
  for (const { folder, kind, cases: texts, broken } of cases.tokenizers) {
    const tokenizer = await runtime.tokenizer(folder, kind);
    for (const { text, ids, decoded, after, continued, whole } of texts) {
      const place = `${folder} ${JSON.stringify(text)}`;
      expect(`${place} encoded`, Array.from(tokenizer.encode(text)), ids);
      expect(`${place} whole`, tokenizer.encodeWhole(text).pieces, whole.pieces);
      expect(`${place} whole`, Array.from(tokenizer.encodeWhole(text).ids), whole.ids);
      expect(`${place} decoded`, tokenizer.decode(ids), decoded);
      expect(`${place} decoded after ${JSON.stringify(after)}`, tokenizer.decode(ids, after), continued);
    }
    for (const { ids, decoded } of broken) expect(`${folder} ${ids} decoded`, tokenizer.decode(ids), decoded);
    for (const codes of cases.refused) {
      const text = codes.map((code) => String.fromCodePoint(code)).join("");
      expect(`${folder} refuses ${codes}`, refusal(() => tokenizer.encode(text), runtime.UserError), true);
    }
  }
  for (const expected of cases.models) {
    const model = await runtime.load(expected.folder);
    expect(`${expected.name} kind`, model.manifest.kind, expected.kind);
    const isRounded = otherKernels && expected.precision === "int8" && expected.kind === "language_model";
    const tolerance = isRounded ? TOLERANCE_OF_8_BITS : TOLERANCE;
    for (const { prompt, options, texts } of isRounded ? [] : (expected.generate ?? [])) {
      const found = await model.samples(prompt, inCamelCase(options));
      expect(`${expected.name} generate ${JSON.stringify({ prompt, options })}`, found, texts);
    }
    for (const { text, probs } of expected.next ?? []) {
      const found = await model.nextProbs(text, Object.keys(probs).length);
      const byText = Object.fromEntries(found.map((token) => [token.text, token.probability]));
      expect(`${expected.name} next ${JSON.stringify(text)}`, byText, probs, tolerance);
    }
    for (const { text, nats, tokens } of expected.score ?? []) {
      const found = await model.score(text);
      expect(`${expected.name} score ${JSON.stringify(text)}`, [found.nats, found.tokens], [nats, tokens], tolerance);
    }
    for (const { texts, predictions } of expected.classify ?? []) {
      const found = await model.classify(texts);
      const named = found.map(({ tokensRead, ...prediction }) => ({ ...prediction, tokens_read: tokensRead }));
      expect(`${expected.name} classify`, named, predictions);
    }
    if (expected.predict) {
      const { records, values } = expected.predict;
      const found = model.predict
        ? await model.predict(records)
        : (await model.classify(records)).map(({ probs }) => Object.values(probs));
      expect(`${expected.name} predict`, found, values);
    }
    for (const { options, texts, outputs } of expected.transform ?? []) {
      const found = await model.transform(texts, inCamelCase(options));
      expect(`${expected.name} transform ${JSON.stringify(options)}`, found.map(inSnakeCase), outputs);
    }
    for (const { values, steps, forecast } of expected.forecast ?? []) {
      expect(`${expected.name} forecast ${steps}`, await model.forecast(values, steps), forecast);
    }
  }
  for (const { recording, sample_rate, mel_bins, tolerance, frames } of cases.audio.frames) {
    const format = new runtime.AudioFormat({ sample_rate, mel_bins });
    const found = Array.from(await format.frames(await runtime.recording(recording), recording));
    expect(`${recording} at ${sample_rate} has frames`, found.length, frames.length);
    const furthest = found.reduce((most, value, place) => Math.max(most, Math.abs(value - frames[place])), 0);
    expect(`${recording} at ${sample_rate}, difference`, furthest, 0, tolerance);
  }
  for (const { name, folder, recordings, tolerance, classify, options, lm, transcripts } of cases.audio.models) {
    const model = await runtime.load(folder);
    const given = await Promise.all(recordings.map(runtime.recording));
    if (classify) {
      expect(`${name} classify recordings`, await model.classify(given), classify, tolerance);
    } else {
      const chosen = { ...options, ...(lm ? { lm: await runtime.load(lm) } : {}) };
      const found = (await model.transcribe(given, chosen)).map(inSnakeCase);
      const like = found.map(({ candidates, ...best }) => (candidates.length > 1 ? { ...best, candidates } : best));
      expect(`${name} transcribe ${JSON.stringify({ ...options, lm })}`, like, transcripts, tolerance);
    }
  }
  return { compared, differences };
}

/** Return whether a value is the expected one; numbers may differ by the tolerance, absolute or relative. */
function isLike(found, expected, tolerance) {
  if (typeof expected === "number") return Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected));
  if (Array.isArray(expected)) {
    return found?.length === expected.length && expected.every((value, index) => isLike(found[index], value, tolerance));
  }
  if (expected && typeof expected === "object") {
    const [names, others] = [Object.keys(expected).sort(), Object.keys(found ?? {}).sort()];
    return `${names}` === `${others}` && names.every((name) => isLike(found[name], expected[name], tolerance));
  }
  return found === expected;
}

function refusal(call, UserError) {
  try {
    call();
  } catch (error) {
    return error instanceof UserError;
  }
  return false;
}

function inCamelCase(options) {
  const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value]));
}

/** Return a value with the names of Python. */
function inSnakeCase(value) {
  if (Array.isArray(value)) return value.map(inSnakeCase);
  if (typeof value !== "object" || !value) return value;
  const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(value).map(([name, of]) => [snake(name), inSnakeCase(of)]));
}

async function main(path) {
  const { readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const { UserError, load } = await import("../export/node/index.js");
  const { readTokenizer } = await import("../textrnn/web/runtime/bundle.js");
  const { randomStream } = await import("../textrnn/web/runtime/random.js");
  const tokenizer = async (folder, kind) => {
    const file = kind === "sentencepiece" ? "tokenizer.model" : "tokenizer.json";
    return readTokenizer(kind, new Uint8Array(await readFile(join(folder, file))));
  };
  const { AudioFormat } = await import("../textrnn/web/runtime/audio/recordings.js");
  const recording = async (path) => new Uint8Array(await readFile(path));
  const cases = JSON.parse(await readFile(path, "utf8"));
  const runtime = { load, tokenizer, recording, AudioFormat, randomStream, UserError };
  const { compared, differences } = await compare(cases, runtime);
  for (const difference of differences) console.log(difference);
  console.log(`${compared} compared`);
  process.exitCode = differences.length ? 1 : 0;
}

if (globalThis.process?.argv[1]?.endsWith("golden_runtimes.mjs")) await main(process.argv[2]);
