// Requests to the server that served this page, and their errors.

import { rememberedInTab } from "./memory.js";

const KINDS = { 401: "key", 403: "key", 404: "refused", 413: "large", 429: "busy", 503: "loading" };

export class ServerError extends Error {
  /**
   * @param kind key of the words: lost, key, busy, loading, large, refused or failed
   * @param detail the server's own words, "" for none
   * @param wait seconds after which the server wants to be asked again, 0 for none
   */
  constructor(kind, detail = "", wait = 0) {
    super(detail || kind);
    this.kind = kind;
    this.detail = detail;
    this.wait = wait;
  }
}

/** Returns the server's version and models: the name, kind and what else is known of each. */
export async function fetchInfo() {
  return (await request("info")).json();
}

/** Yields the tokens of a continuation: {text, probability, alternatives: [{text, probability}, ...]}. */
export async function* generate(options, signal) {
  const response = await request("generate_stream", { ...options, logprobs: 5 }, signal);
  for await (const event of events(response, signal)) {
    if (event.done) return;
    yield* event.tokens ?? [];
  }
}

/** Returns the prediction of a text, with its explanation; of `label`, or of the most probable one if it is "". */
export async function classify(model, text, label, signal) {
  const asked = { model, texts: [text], explain: true, ...(label ? { label } : {}) };
  return (await (await request("classify", asked, signal)).json()).predictions[0];
}

/** Returns the output for a text, with as many candidates as `beams` and their alignments. */
export async function transform(model, text, beams, signal) {
  const asked = { model, texts: [text], beams, n_best: beams, explain: true };
  return (await (await request("transform", asked, signal)).json()).outputs[0];
}

/** Returns the prediction of a recording, from the bytes of its file. */
export async function classifyRecording(model, bytes) {
  const asked = { model, recordings: [base64(bytes)] };
  return (await (await request("classify", asked)).json()).predictions[0];
}

/** Returns the transcript of a recording, with as many candidates as `beams`. */
export async function transcribe(model, bytes, beams) {
  const asked = { model, recordings: [base64(bytes)], beams };
  return (await (await request("transcribe", asked)).json()).transcripts[0];
}

/** Returns the forecast, rows of values. */
export async function forecast(model, values, steps, signal) {
  return (await (await request("forecast", { model, values, steps }, signal)).json()).forecast;
}

async function request(path, body, signal) {
  const headers = {};
  const key = rememberedInTab("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
    });
  } catch (error) {
    throw signal?.aborted ? error : new ServerError("lost");
  }
  if (!response.ok) {
    const kind = KINDS[response.status] ?? (response.status < 500 ? "refused" : "failed");
    throw new ServerError(kind, await detailOf(response), Number(response.headers.get("Retry-After")) || 0);
  }
  return response;
}

function base64(bytes) {
  let text = "";
  for (let begin = 0; begin < bytes.length; begin += 4096) {
    text += String.fromCharCode(...bytes.subarray(begin, begin + 4096));
  }
  return btoa(text);
}

async function detailOf(response) {
  try {
    const { error, detail } = await response.json();
    const said = error?.message ?? error ?? detail ?? "";
    return typeof said === "string" ? said : JSON.stringify(said);
  } catch {
    return "";
  }
}

/** Yields the JSON documents of a stream of server-sent events. One that ends without being left was cut off. */
async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw signal?.aborted ? error : new ServerError("lost");
    }
    if (part.done) throw new ServerError("lost");
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new ServerError("failed", event.error.message ?? String(event.error));
      yield event;
    }
  }
}
