/**
 * Logarithms of mel energies of frames, as the filter banks of Kaldi compute them (Povey et al. 2011).
 *
 * Of each frame the mean is subtracted, high frequencies are raised, Povey's window is applied, and triangular filters on
 * the mel scale sum the power spectrum. The options are those of `textrnn.data.audio.recordings`.
 */

const FRAME_MS = 25;
const SHIFT_MS = 10;
const LOWEST = 20; // Hz, where the first filter begins; the last one ends at half the sample rate
const PREEMPHASIS = 0.97;
const WINDOW_POWER = 0.85;
const LEAST_ENERGY = 2 ** -23; // the float32 epsilon

/** Log-mel frames of samples at one rate. */
export class LogMel {
  #rate;
  #length;
  #shift;
  #window;
  #transform;
  #filters;

  /**
   * @param {number} rate - Samples a second.
   * @param {number} bins - Values of a frame.
   */
  constructor(rate, bins) {
    this.bins = bins;
    this.#rate = rate;
    this.#length = samplesIn(rate, FRAME_MS);
    this.#shift = samplesIn(rate, SHIFT_MS);
    this.#window = Float64Array.from({ length: this.#length }, (_, index) => {
      return (0.5 - 0.5 * Math.cos((2 * Math.PI * index) / (this.#length - 1))) ** WINDOW_POWER;
    });
    const size = 2 ** Math.ceil(Math.log2(this.#length));
    this.#transform = new FourierTransform(size);
    this.#filters = melFilters(rate, size, bins);
  }

  /** Return the frames of samples, (time * bins): one each 10 ms, whose middle is in the recording. */
  frames(samples) {
    const count = Math.floor((samples.length + Math.floor(this.#shift / 2)) / this.#shift);
    if (!count) { // less than half a step long
      const longer = new Float32Array(samples.length + Math.round((this.#rate * SHIFT_MS) / 1000));
      longer.set(samples);
      return this.frames(longer);
    }
    const found = new Float32Array(count * this.bins);
    const real = new Float64Array(this.#transform.size);
    for (let frame = 0; frame < count; frame++) {
      this.#fill(real, samples, frame * this.#shift + Math.floor(this.#shift / 2) - Math.floor(this.#length / 2));
      const power = this.#transform.powerOf(real);
      this.#filters.forEach(({ first, weights }, bin) => {
        let energy = 0;
        for (let index = 0; index < weights.length; index++) energy += weights[index] * power[first + index];
        found[frame * this.bins + bin] = Math.log(Math.max(energy, LEAST_ENERGY));
      });
    }
    return found;
  }

  /** Write the frame that begins at a sample; a recording is mirrored at its ends. */
  #fill(frame, samples, begin) {
    const [length, last] = [this.#length, samples.length - 1];
    let mean = 0;
    for (let index = 0; index < length; index++) {
      let place = begin + index;
      while (place < 0 || place > last) place = place < 0 ? -1 - place : 2 * last + 1 - place;
      mean += frame[index] = samples[place];
    }
    mean /= length;
    for (let index = 0; index < length; index++) frame[index] -= mean;
    for (let index = length - 1; index >= 0; index--) {
      frame[index] = (frame[index] - PREEMPHASIS * frame[Math.max(0, index - 1)]) * this.#window[index];
    }
    frame.fill(0, length);
  }
}

/** Return the whole samples in some milliseconds, computed in float32. */
function samplesIn(rate, milliseconds) {
  return Math.trunc(Math.fround(Math.fround(rate * Math.fround(0.001)) * milliseconds));
}

/** Return triangular filters of equal width on the mel scale: {first, weights} of the power spectrum. */
function melFilters(rate, size, bins) {
  const mel = (frequency) => 1127 * Math.log(1 + frequency / 700);
  const low = mel(LOWEST);
  const width = (mel(rate / 2) - low) / (bins + 1);
  const places = Array.from({ length: size / 2 }, (_, index) => mel((index * rate) / size));
  return Array.from({ length: bins }, (_, bin) => {
    const [left, right] = [low + bin * width, low + (bin + 2) * width];
    const inside = places.map((_, index) => index).filter((index) => places[index] > left && places[index] < right);
    const weights = inside.map((index) => Math.min(places[index] - left, right - places[index]) / width);
    return { first: inside[0] ?? 0, weights: Float64Array.from(weights) };
  });
}

/** Fourier transform of real numbers, whose count is a power of two. */
class FourierTransform {
  #real;
  #imaginary;
  #cosines;
  #sines;
  #reversed;

  constructor(size) {
    this.size = size;
    this.#real = new Float64Array(size);
    this.#imaginary = new Float64Array(size);
    this.#cosines = Float64Array.from({ length: size / 2 }, (_, index) => Math.cos((2 * Math.PI * index) / size));
    this.#sines = Float64Array.from({ length: size / 2 }, (_, index) => -Math.sin((2 * Math.PI * index) / size));
    this.#reversed = new Uint32Array(size); // index with its bits in reverse order
    for (let index = 1; index < size; index++) {
      this.#reversed[index] = (this.#reversed[index >> 1] >> 1) | (index & 1 ? size >> 1 : 0);
    }
  }

  /** Return the squared amplitudes of the first half of the spectrum; the next call overwrites them. */
  powerOf(values) {
    const [real, imaginary, size] = [this.#real, this.#imaginary, this.size];
    for (let index = 0; index < size; index++) real[index] = values[this.#reversed[index]];
    imaginary.fill(0);
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let begin = 0; begin < size; begin += 2 * half) {
        for (let offset = 0; offset < half; offset++) {
          const [one, other] = [begin + offset, begin + offset + half];
          const [cosine, sine] = [this.#cosines[offset * step], this.#sines[offset * step]];
          const turned = real[other] * cosine - imaginary[other] * sine;
          const turnedImaginary = real[other] * sine + imaginary[other] * cosine;
          real[other] = real[one] - turned;
          imaginary[other] = imaginary[one] - turnedImaginary;
          real[one] += turned;
          imaginary[one] += turnedImaginary;
        }
      }
    }
    for (let index = 0; index < size / 2; index++) real[index] = real[index] ** 2 + imaginary[index] ** 2;
    return real.subarray(0, size / 2);
  }
}
