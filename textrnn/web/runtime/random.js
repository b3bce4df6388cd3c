/**
 * Random numbers of `textrnn.sampling.random_streams`: numpy's PCG64, seeded with [seed, stream] by its SeedSequence.
 *
 * PCG64 is a linear congruential generator of 128 bits with the output permutation XSL-RR (O'Neill 2014).
 */

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/** Return the next numbers of a stream: a function of a count that gives a Float64Array in [0, 1). */
export function randomStream(seed, stream) {
  const [high, low, incrementHigh, incrementLow] = seededState([BigInt(seed), BigInt(stream)]);
  const increment = BigInt.asUintN(128, (((incrementHigh << 64n) | incrementLow) << 1n) | 1n);
  let state = BigInt.asUintN(128, (increment + ((high << 64n) | low)) * MULTIPLIER + increment);
  return (count) => {
    const values = new Float64Array(count);
    for (let index = 0; index < count; index++) {
      state = BigInt.asUintN(128, state * MULTIPLIER + increment);
      const mixed = BigInt.asUintN(64, state ^ (state >> 64n));
      const turn = state >> 122n;
      const rotated = BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
      values[index] = Number(rotated >> 11n) / 2 ** 53;
    }
    return values;
  };
}

/** Return a seed of 64 random bits. */
export function randomSeed() {
  const [high, low] = globalThis.crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Return four words of 64 bits from whole numbers, as numpy's SeedSequence does. */
function seededState(numbers) {
  const entropy = numbers.flatMap(words);
  const pool = new Uint32Array(4);
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  for (let index = 0; index < 4; index++) pool[index] = hash(entropy[index] ?? 0);
  for (let source = 0; source < 4; source++) {
    for (let target = 0; target < 4; target++) {
      if (source !== target) pool[target] = mix(pool[target], hash(pool[source]));
    }
  }
  for (const word of entropy.slice(4)) {
    for (let target = 0; target < 4; target++) pool[target] = mix(pool[target], hash(word));
  }
  const next = hasher(0x8b51f9dd, 0x58f38ded);
  const state = Array.from({ length: 8 }, (_, index) => BigInt(next(pool[index % 4])));
  return [0, 2, 4, 6].map((index) => state[index] | (state[index + 1] << 32n));
}

/** Return the words of 32 bits of a whole number, the lowest first; 0 is one word. */
function words(number) {
  const found = [];
  do {
    found.push(Number(number & 0xffffffffn));
    number >>= 32n;
  } while (number);
  return found;
}

/** Return a hash function of words whose constant changes with each call. */
function hasher(constant, multiplier) {
  return (word) => {
    word ^= constant;
    constant = Math.imul(constant, multiplier);
    word = Math.imul(word, constant);
    return (word ^ (word >>> 16)) >>> 0;
  };
}

function mix(one, other) {
  const mixed = Math.imul(0xca01f9dd, one) - Math.imul(0x4973f715, other);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
