/** The page: shows the form for the kind of the model, and asks the worker for text, labels, outputs, transcripts and forecasts. */
import { AlignmentTable } from "../../serve/page/js/charts/alignment.js";
import { listenForm } from "./listen.js";
import { WORDS } from "./words.js";

const $ = (id) => document.getElementById(id);
const site = JSON.parse($("site").textContent);
let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
let described = null; // the model, as the worker describes it
let note = null; // what the status line says: {word, values} or null

const worker = new Worker(await scriptUrl("worker.js", "blob"));
const calls = new Map();
let lastId = 0;

/** Ask the worker; `onPiece` is called with each piece of a text. The promise has `id`, to stop the call. */
function ask(call, args, onPiece) {
  const id = ++lastId;
  const answer = new Promise((resolve, reject) => calls.set(id, { resolve, reject, onPiece }));
  worker.postMessage({ id, call, args });
  return Object.assign(answer, { id });
}

worker.onmessage = ({ data: { id, result, error, piece, loaded } }) => {
  if (loaded !== undefined) {
    $("progress").value = loaded / site.bytes;
  } else if (piece !== undefined) {
    calls.get(id).onPiece(piece);
  } else {
    const { resolve, reject } = calls.get(id);
    calls.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  }
};
worker.onerror = ({ message }) => showError(new Error(message ?? "the worker could not be started"));

/** Return the files inside a page that is one file: gzip in base64, by name. */
function filesInside() {
  const found = Array.from(document.querySelectorAll("script[data-file]"), (script) => [script.dataset.file, script.textContent]);
  return Object.fromEntries(found);
}

/** Return the address of another script of the page, which may be inside it: of type `blob` or `data`. */
async function scriptUrl(name, type) {
  const packed = document.querySelector(`script[data-file="${name}"]`);
  if (!packed) return new URL(name, document.baseURI).href;
  const bytes = Uint8Array.from(atob(packed.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = await new Response(stream).arrayBuffer();
  if (type === "data") return `data:text/javascript,${encodeURIComponent(new TextDecoder().decode(content))}`;
  return URL.createObjectURL(new Blob([content], { type: "text/javascript" }));
}

/** Return a text of the page in the current language. */
function word(name, values = {}) {
  return WORDS[language][name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  listening?.translate();
  if (note) $("status").textContent = word(note.word, note.values);
  if (!described) return;
  const { kind, precision, bytes } = described;
  const size = (bytes / 1e6).toFixed(1);
  $("model").textContent = word("model", { kind: WORDS[language].kinds[kind], precision, size });
  document.querySelector('label[for="record"]').textContent = word("record", { example: exampleRecord() });
}

function say(name, values) {
  note = name ? { word: name, values } : null;
  $("status").textContent = name ? word(name, values) : "";
}

function showError(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
}

function clearError() {
  $("error").hidden = true;
}

/** Return a function that shows errors instead of throwing them. */
function guarded(act) {
  return async (event) => {
    event?.preventDefault();
    clearError();
    try {
      await act();
    } catch (error) {
      showError(error);
    }
  };
}

// Text

let writing = null;

async function write() {
  if (writing) return;
  const options = { temperature: Number($("temperature").value) };
  for (const name of ["length", "topK", "topP", "minP", "repetitionPenalty"]) options[name] = $(name).valueAsNumber;
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 32) : $("seed").valueAsNumber;
  const [given, fresh] = $("written").children;
  given.textContent = $("prompt").value;
  fresh.textContent = "";
  let [text, waiting, shownUntil] = ["", false, 0];
  const show = () => {
    waiting = false;
    const pre = $("written");
    const isAtEnd = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 40;
    fresh.append(text.slice(shownUntil));
    shownUntil = text.length;
    if (isAtEnd) pre.scrollTop = pre.scrollHeight;
  };
  const begin = performance.now();
  setWriting(true);
  try {
    writing = ask("write", { prompt: $("prompt").value, options: { ...options, seed } }, (piece) => {
      text += piece;
      if (!waiting) waiting = requestAnimationFrame(show);
    });
    await writing;
  } finally {
    if (waiting) cancelAnimationFrame(waiting);
    show();
    writing = null;
    setWriting(false);
    const count = Array.from(text).length;
    const rate = Math.round((count / Math.max(performance.now() - begin, 1)) * 1000);
    say("rate", { count: count.toLocaleString(language), rate: rate.toLocaleString(language), seed });
  }
}

function setWriting(on) {
  $("written").setAttribute("aria-busy", on);
  document.querySelector("#write .main").disabled = on;
  $("stop").disabled = !on;
  for (const name of ["copy", "clear"]) $(name).disabled = on;
  if (on) say(null);
}

function stopWriting() {
  if (writing) worker.postMessage({ stop: writing.id });
}

async function copy() {
  await navigator.clipboard.writeText($("written").textContent);
  say("copied");
}

function clearText() {
  for (const part of $("written").children) part.textContent = "";
  for (const name of ["copy", "clear"]) $(name).disabled = true;
  say(null);
}

// Labels

/** Return a function that reads what is typed; while the model works, only the latest text waits. */
function whileTyping(act) {
  let [isWorking, hasChanged] = [false, false];
  return async () => {
    hasChanged = true;
    if (isWorking) return;
    isWorking = true;
    try {
      while (hasChanged) {
        hasChanged = false;
        await act();
      }
    } finally {
      isWorking = false;
    }
  };
}

const classify = whileTyping(async () => {
  const text = $("text").value;
  const [prediction] = text.trim() ? await ask("classify", { inputs: [text] }) : [null];
  $("result").hidden = !prediction;
  if (!prediction) say(null);
  else showPrediction(prediction);
});

function showPrediction({ label, labels = [label], probs, tokens, tokensRead }) {
  const rows = Object.entries(probs).sort(([, one], [, other]) => other - one).slice(0, 20);
  showResult(labels.join(", ") || word("none"), rows, (row) => labels.includes(row[0]));
  if (tokensRead < tokens) say("cut", { read: tokensRead, tokens });
  else say(null);
}

/** Show a heading, and a bar for each [name, probability]. */
function showResult(title, rows, isBest) {
  const heading = document.createElement("h2");
  heading.textContent = title;
  const bars = rows.map((row) => {
    const [name, value] = row;
    const bar = document.createElement("div");
    bar.className = isBest(row) ? "bar best" : "bar";
    for (const part of ["name", "track", "number"]) bar.append(Object.assign(document.createElement("span"), { className: part }));
    bar.children[0].textContent = name;
    const fill = Object.assign(document.createElement("span"), { className: "fill" });
    fill.style.width = `${100 * value}%`;
    bar.children[1].append(fill);
    bar.children[2].textContent = percent(value);
    return bar;
  });
  $("result").replaceChildren(heading, ...bars);
  $("result").hidden = false;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// Outputs

const alignment = new AlignmentTable($("alignment"), $("alignment-line"), (weight) => `${Math.round(100 * weight)} %`);

const transform = whileTyping(async () => {
  const text = $("source").value;
  const options = { beams: $("beams").valueAsNumber, align: true };
  const [output] = text.trim() ? await ask("transform", { inputs: [text], options }) : [null];
  $("result").hidden = !output;
  $("alignment-figure").hidden = !alignment.show(output?.candidates[0].alignment);
  if (output) showOutput(output);
  else say(null);
});

function showOutput({ text, candidates, isWhole, isLonger }) {
  const rows = candidates.map((candidate) => [candidate.text, Math.exp(candidate.logProb)]);
  showResult(text, rows, (row) => row === rows[0]);
  if (isLonger) say("longer");
  else if (!isWhole) say("cutOutput");
  else say(null);
}

// Speech

let listening = null;

async function startListening() {
  const isRecognizer = described.kind === "recognizer";
  $("result").ariaLive = "off"; // the list of what was heard is read out
  listening = listenForm({
    recorder: await scriptUrl("recorder.js", "data"), // the thread of audio of a page from disk loads no blob
    unit: isRecognizer ? "text" : "word",
    word,
    fail: showError,
    async answer(recording) {
      clearError();
      if (isRecognizer) return transcribed(recording);
      const [prediction] = await ask("classify", { inputs: [recording] });
      showPrediction(prediction);
      return `${prediction.label} (${percent(prediction.probability)})`;
    },
  });
}

async function transcribed(recording) {
  const [{ text, candidates }] = await ask("transcribe", { inputs: [recording], options: { beams: 8 } });
  const rows = candidates.map((candidate) => [candidate.text || word("nothing"), candidate.probability]);
  showResult(text || word("nothing"), rows, (row) => row === rows[0]);
  return text || word("nothing");
}

// Numbers

function exampleRecord() {
  const { features = 1 } = described;
  const row = Array.from({ length: Math.min(features, 3) }, (_, index) => index / 2).join(", ");
  return features > 1 ? `[[${row}, ...], ...]` : "[0, 0.5, 1, ...]";
}

function parsed(text, read) {
  try {
    return read(text);
  } catch {
    throw new Error(word("badNumbers"));
  }
}

async function predict() {
  const inputs = [parsed($("record").value, JSON.parse)];
  if (described.labels) {
    showPrediction((await ask("classify", { inputs }))[0]);
  } else {
    const [values] = await ask("predict", { inputs });
    const list = document.createElement("p");
    list.textContent = values.map((value) => value.toPrecision(6)).join(", ");
    $("result").replaceChildren(list);
    $("result").hidden = false;
  }
}

/** Return the rows of numbers of a text; a first line of names is left out. */
function rowsOf(text) {
  const rows = text.trim().split(/\n/).map((line) => line.trim().split(/[\s,;]+/).map(Number));
  if (rows.length > 1 && rows[0].some(Number.isNaN)) rows.shift();
  if (rows.flat().some(Number.isNaN)) throw new Error();
  return rows;
}

async function forecast() {
  const values = parsed($("history").value, rowsOf);
  const found = await ask("forecast", { values, steps: $("steps").valueAsNumber });
  drawChart(values, found);
  const table = document.createElement("pre");
  table.textContent = found.map((row) => row.map((value) => value.toPrecision(6)).join(", ")).join("\n");
  $("result").replaceChildren(table);
  $("result").hidden = false;
}

function drawChart(past, next) {
  const [width, height] = [600, 200];
  const past_ = past.slice(-Math.max(100, 3 * next.length));
  const all = [...past_, ...next];
  const numbers = all.flat();
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const points = (rows, first, feature) =>
    rows.map((row, index) => {
      const x = ((first + index) / Math.max(all.length - 1, 1)) * width;
      const y = height - 4 - ((row[feature] - low) / (high - low || 1)) * (height - 8);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
  const lines = past_[0].map((_, feature) => {
    const before = points(past_, 0, feature);
    const after = [before.at(-1), ...points(next, past_.length, feature)];
    return `<polyline class="past" points="${before.join(" ")}"/><polyline class="next" points="${after.join(" ")}"/>`;
  });
  $("chart").innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img">${lines.join("")}</svg>`;
  $("chart").firstChild.setAttribute("aria-label", word("chart"));
  $("chart").hidden = false;
}

// Start

const FORMS = {
  language_model: "write",
  classifier: "classify",
  multilabel_classifier: "classify",
  vector_classifier: "predict",
  regressor: "predict",
  forecaster: "forecast",
  text_to_text: "transform",
  audio_classifier: "listen",
  recognizer: "listen",
};
const ACTIONS = { write, classify, transform, predict, forecast };

document.title = $("title").textContent = site.name;
$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  translate();
});
for (const [form, act] of Object.entries(ACTIONS)) $(form).addEventListener("submit", guarded(act));
$("text").addEventListener("input", guarded(classify));
for (const name of ["source", "beams"]) $(name).addEventListener("input", guarded(transform));
$("stop").addEventListener("click", stopWriting);
$("copy").addEventListener("click", guarded(copy));
$("clear").addEventListener("click", clearText);
for (const name of ["temperature", "beams"]) {
  const show = () => ($(`${name}-value`).textContent = $(name).value);
  $(name).addEventListener("input", show);
  show();
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    stopWriting();
    listening?.stop();
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form?.requestSubmit();
});
translate();
try {
  described = await ask("load", {
    folder: new URL(".", document.baseURI).href,
    inside: site.inside ? filesInside() : null,
    runtime: site.runtime,
  });
  const form = FORMS[described.kind];
  $("prompt").value = described.prompt;
  $("steps").value = described.horizon ?? 1;
  $("record").placeholder = exampleRecord();
  if (form === "listen") await startListening();
  $("keys").hidden = ["classify", "transform", "listen"].includes(form);
  $(form).hidden = false;
  translate();
} catch (error) {
  showError(error);
}
$("loading").hidden = true;
