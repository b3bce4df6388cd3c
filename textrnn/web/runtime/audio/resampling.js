/**
 * Change of the sample rate by a sinc filter with a Kaiser window, evaluated at the places of the new samples.
 *
 * The filter is the one that Python's recordings pass (soxr, high quality): its pass band ends at 0.913 of half the
 * lower rate, and its stop band begins at half the lower rate. Its numbers were fitted to what soxr returns. The results
 * are equal to 1e-7 if the ratio of the rates is 1.5, 2 or 3. For greater products of 2 and 3 they differ at the ends of a
 * recording, where soxr goes through several stages; for other ratios, soxr has a second filter, left out here.
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
  const { halfLength, beta } = windowOf(up, down);
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
 * @param {number} up - Ratio of the new rate to the old one, in lowest terms: its numerator.
 * @param {number} down - Its denominator.
 */
function windowOf(up, down) {
  if (!isOfTwoAndThree(up * down)) return { halfLength: 110, beta: 16 }; // two filters of soxr, nearly
  const [low, high] = up < down ? [up, down] : [down, up];
  const stages = Math.max(1, Math.floor(Math.log2(high / low))); // their errors add
  const more = 20 * Math.log10(stages); // dB of attenuation
  const last = low === 1 ? high / 2 ** (stages - 1) : high; // factor of the last stage
  const unit = up === 4 && low > 1 ? 8 : 4; // the length is rounded up to a multiple of it, plus one
  const length = unit * Math.ceil((2 * last * (96.3 + 0.82 * more)) / unit) + 1;
  return { halfLength: length / (2 * last), beta: 13.04 + 0.1115 * more };
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
