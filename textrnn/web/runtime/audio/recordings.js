/** One recording to log-mel frames: decoding, mixing to mono, resampling, as `textrnn.data.audio.recordings`. */
import { UserError, shown } from "../errors.js";
import { LogMel } from "./log_mel.js";
import { resample } from "./resampling.js";
import { decodeWav } from "./wav.js";

export const SHIFT_MS = 10;
const LONGEST_SECONDS = 600;
const [LOWEST_RATE, HIGHEST_RATE] = [1000, 768_000]; // Hz
const LOUD = 0.95; // quantile of the values of a recording that is its level
const DYNAMIC_RANGE = 10; // nepers of energy, 43 dB: what is further below the level is background
const QUIETEST = 1e-4; // peak below which a recording is silent: -80 dB

/** How recordings become frames. */
export class AudioFormat {
  #logMel;
  #readFile;

  /**
   * @param {object} audio - The block `runtime.audio` of a manifest: {sample_rate, mel_bins}.
   * @param {(path: string) => Promise<Uint8Array>} [readFile] - Reads a file, where there are files.
   */
  constructor({ sample_rate: sampleRate, mel_bins: melBins }, readFile) {
    this.sampleRate = sampleRate;
    this.melBins = melBins;
    this.#logMel = new LogMel(sampleRate, melBins);
    this.#readFile = readFile;
  }

  /** Return the frames of several recordings, each a Float32Array (time * melBins). */
  async framesOf(recordings) {
    const isOne = typeof recordings === "string" || ArrayBuffer.isView(recordings);
    if (isOne || typeof recordings?.[Symbol.iterator] !== "function") {
      throw new UserError(`a model of recordings reads several, was given: ${shown(recordings)}; put it in an array`);
    }
    const found = [];
    for (const recording of recordings) {
      found.push(await this.frames(recording, typeof recording === "string" ? recording : `recording ${found.length + 1}`));
    }
    return found;
  }

  /**
   * Return the log-mel frames of a recording, (time * melBins): one every 10 ms, each of 25 ms.
   *
   * The level of the recording, the 0.95 quantile of its values, is subtracted. Values below -10 become -10.
   *
   * @param {string|Uint8Array|ArrayBuffer|object} recording - A .wav file, its bytes, or {samples, rate}: samples between
   *   -1 and 1, or an array of them for each channel, and their rate in Hz.
   * @param {string} place - Name of the recording, for messages.
   * @throws {UserError} The recording cannot be read, or is too long, silent or empty.
   */
  async frames(recording, place) {
    const { channels, rate } = checked(await this.#decoded(recording, place), place);
    const mono = mean(channels);
    if (!mono.length || range(mono) < 2 * QUIETEST) {
      const what = mono.length ? "silent: its loudest sample is below -80 dB" : "empty";
      throw new UserError(`a recording must have sound, ${place} is ${what}; record it again, or leave it out`);
    }
    const frames = this.#logMel.frames(resample(mono, rate, this.sampleRate));
    const level = Math.fround(quantile(frames, LOUD));
    return frames.map((value) => Math.max(value - level, -DYNAMIC_RANGE));
  }

  async #decoded(recording, place) {
    if (typeof recording === "string") {
      if (!this.#readFile) throw new UserError(`there are no files here, was given: ${shown(recording)}; give its bytes`);
      if (!/\.wav$/i.test(recording)) {
        throw new UserError(`a recording must be a .wav file here, was: ${shown(recording)}; convert it`);
      }
      recording = await this.#readFile(recording);
    }
    if (recording instanceof ArrayBuffer) recording = new Uint8Array(recording);
    if (recording instanceof Uint8Array) return decodeWav(recording, place);
    const { samples, rate } = recording ?? {};
    const isOfChannels = Array.isArray(samples) && (Array.isArray(samples[0]) || ArrayBuffer.isView(samples[0]));
    return { channels: isOfChannels ? samples : [samples], rate };
  }
}

/** Return channels of samples and their rate, if they are right. */
function checked({ channels, rate }, place) {
  if (!Number.isInteger(rate) || rate < LOWEST_RATE || rate > HIGHEST_RATE) {
    throw new UserError(`samples need their rate of 1,000 Hz or more, that of ${place} is: ${shown(rate)}; give it`);
  }
  const isList = (samples) => Array.isArray(samples) || samples instanceof Float32Array || samples instanceof Float64Array;
  const isRight = channels.length && channels.every((samples) => isList(samples) && samples.length === channels[0].length);
  const found = isRight ? channels.map((samples) => Float32Array.from(samples)) : [];
  if (!isRight || !found.every((samples) => samples.every(Number.isFinite))) {
    throw new UserError(`samples must be finite numbers from -1 to 1, as many of each channel, those of ${place} are not`);
  }
  const seconds = found[0].length / rate;
  if (seconds > LONGEST_SECONDS) {
    const taken = Math.round(seconds);
    throw new UserError(`a recording must take ${LONGEST_SECONDS} seconds at most, ${place} takes ${taken}; cut it`);
  }
  return { channels: found, rate };
}

function mean(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, time) => channels.reduce((total, samples) => total + samples[time], 0) / channels.length);
}

function range(samples) {
  let [low, high] = [Infinity, -Infinity];
  for (const sample of samples) {
    if (sample < low) low = sample;
    if (sample > high) high = sample;
  }
  return high - low;
}

/** Return a quantile of values, by linear interpolation. */
function quantile(values, share) {
  const sorted = values.slice().sort();
  const place = (sorted.length - 1) * share;
  const lower = Math.floor(place);
  return sorted[lower] + (place - lower) * (sorted[Math.min(lower + 1, sorted.length - 1)] - sorted[lower]);
}
