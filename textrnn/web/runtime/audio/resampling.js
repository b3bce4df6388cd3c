/**
 * Change of the sample rate by a sinc filter with a Kaiser window, evaluated at the places of the new samples.
 *
 * The filter is the one that Python's recordings pass (soxr, high quality): its pass band ends at 0.913 of half the
 * lower rate, and its stop band begins at half the lower rate. The three numbers were fitted to what soxr returns.
 */

const CUTOFF = 0.956872; // where the amplitude is one half, of half the lower rate
const MOST_WEIGHTS = 1 << 20;

/**
 * Return samples at another rate, as many as the same time has.
 *
 * @param {Float32Array} samples - Samples at the rate `from`.
 * @param {number} from - Their rate, a whole number of Hz.
 * @param {number} to - The new rate.
 */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const divisor = greatestCommonDivisor(from, to);
  const [up, down] = [to / divisor, from / divisor]; // new sample n is at n * down / up
  const { weights, rows, taps } = filterBank(from, Math.min(from, to), up, down);
  const before = taps / 2 - 1; // taps before the place of a new sample, or at it
  const found = new Float32Array(Math.floor((samples.length * to) / from + 0.5));
  for (let index = 0; index < found.length; index++) {
    const place = index * down; // in 1 / up of a sample
    const whole = Math.floor(place / up);
    const position = ((place % up) * rows) / up;
    const row = Math.floor(position);
    const first = whole - before;
    const begin = Math.max(0, -first);
    const end = Math.min(taps, samples.length - first);
    let value = product(samples, first, weights, row * taps, begin, end);
    const share = position - row; // 0 unless there are more places between samples than rows
    if (share) value += share * (product(samples, first, weights, (row + 1) * taps, begin, end) - value);
    found[index] = value;
  }
  return found;
}

function product(samples, first, weights, offset, begin, end) {
  let total = 0;
  for (let tap = begin; tap < end; tap++) total += samples[first + tap] * weights[offset + tap];
  return total;
}

/** Return the filter at `rows + 1` places from a sample to the next one, a row of weights each. */
function filterBank(from, lower, up, down) {
  const { halfLength, beta } = windowOf(Math.max(up, down), Math.min(up, down));
  const reach = (halfLength * from) / lower; // in samples of `from`
  const taps = 2 * Math.ceil(reach) + 2;
  const rows = Math.min(up, Math.max(16, Math.floor(MOST_WEIGHTS / taps)));
  const scale = (CUTOFF * lower) / from;
  const peak = bessel(beta);
  const weights = new Float64Array((rows + 1) * taps);
  for (let row = 0; row <= rows; row++) {
    for (let tap = 0; tap < taps; tap++) {
      const distance = tap - (taps / 2 - 1) - row / rows;
      const ratio = distance / reach;
      if (Math.abs(ratio) >= 1) continue;
      const window = bessel(beta * Math.sqrt(1 - ratio * ratio)) / peak;
      const angle = Math.PI * scale * distance;
      weights[row * taps + tap] = scale * (angle ? Math.sin(angle) / angle : 1) * window;
    }
  }
  return { weights, rows, taps };
}

/**
 * Return half the length of the window, in samples of the lower rate, and its parameter beta.
 *
 * @param {number} high - Ratio of the rates, in lowest terms: the greater number.
 * @param {number} low - The lesser number.
 */
function windowOf(high, low) {
  const halvings = Math.max(1, Math.floor(Math.log2(high / low))); // stages, whose errors add
  const more = 20 * Math.log10(halvings); // dB of attenuation
  const last = low === 1 ? high / 2 ** (halvings - 1) : high; // factor of the last stage
  const taps = 4 * Math.ceil((2 * last * 0.8137 * (118.6 + more)) / 4) + 1;
  return isOfTwoAndThree(high * low)
    ? { halfLength: taps / (2 * last), beta: 13.04 + 0.1115 * more }
    : { halfLength: 110, beta: 16 }; // two filters of soxr, nearly
}

function isOfTwoAndThree(number) {
  for (const factor of [2, 3]) while (number % factor === 0) number /= factor;
  return number === 1;
}

/** Return the modified Bessel function of order zero, by its power series. */
function bessel(x) {
  let [total, term] = [1, 1];
  for (let k = 1; term > total * 1e-17; k++) total += term *= (x / (2 * k)) ** 2;
  return total;
}

function greatestCommonDivisor(one, other) {
  return other ? greatestCommonDivisor(other, one % other) : one;
}
