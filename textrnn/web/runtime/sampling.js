/**
 * Sampling as in `textrnn.sampling`: from a row of logits, a Float64Array, to a token.
 *
 * Each transform changes the row in place; -Infinity marks a token that may not be chosen.
 */
import { UserError } from "./errors.js";

/** Return the token for a row of logits: the transforms in the order of the code, then `greedy` or `choose`. */
export function sample(row, options, uniform, seen) {
  if (options.repetitionPenalty !== 1) penaliseRepetition(row, seen, options.repetitionPenalty);
  if (options.temperature === 0) return greedy(row);
  if (options.temperature !== 1) applyTemperature(row, options.temperature);
  if (options.topK) keepTopK(row, options.topK);
  if (options.topP < 1) keepTopP(row, options.topP);
  if (options.minP) keepMinP(row, options.minP);
  return choose(row, uniform);
}

/** Make the tokens of the set `seen` less probable. */
function penaliseRepetition(row, seen, penalty) {
  for (const id of seen) {
    if (row[id] > 0) row[id] /= penalty;
    else if (row[id] < 0) row[id] *= penalty;
  }
}

function applyTemperature(row, temperature) {
  const peak = highest(row);
  for (let id = 0; id < row.length; id++) row[id] = (row[id] - peak) / temperature;
}

/** Keep the k highest logits; the lower id first among equals. */
function keepTopK(row, k) {
  if (k >= row.length) return;
  const kth = row.slice().sort()[row.length - k];
  let room = k - row.filter((logit) => logit > kth).length;
  keep(row, (logit) => logit > kth || (logit === kth && room-- > 0));
}

/** Keep the fewest most probable tokens whose probabilities sum to p or more; the lower id first among equals. */
function keepTopP(row, p) {
  const peak = highest(row);
  const order = byDescendingValue(row);
  const cumulative = new Float64Array(order.length);
  let total = 0;
  order.forEach((id, place) => {
    total += Math.exp(row[id] - peak);
    cumulative[place] = total;
  });
  order.forEach((id, place) => {
    const before = place ? cumulative[place - 1] : 0;
    if (!(before < p * total)) row[id] = -Infinity;
  });
}

/** Keep tokens with at least p times the probability of the top token. */
function keepMinP(row, p) {
  const least = highest(row) + Math.log(p);
  keep(row, (logit) => logit >= least);
}

/** Return the id of the highest logit, the lowest among equals. */
function greedy(row) {
  return row.indexOf(highest(row));
}

/** Draw a token by the inverse of the cumulative distribution, ids in ascending order. */
function choose(row, uniform) {
  const peak = highest(row);
  let total = 0;
  for (let id = 0; id < row.length; id++) row[id] = total += Math.exp(row[id] - peak);
  const bound = uniform * total;
  return row.findIndex((cumulative) => cumulative > bound);
}

/** Return log-probabilities in nats, a new Float64Array. */
export function logSoftmax(row) {
  const peak = highest(row);
  let total = 0;
  for (const logit of row) total += Math.exp(logit - peak);
  const logTotal = Math.log(total);
  return Float64Array.from(row, (logit) => logit - peak - logTotal);
}

/** Return the indices of values in descending order; the lower index first among equals. */
export function byDescendingValue(values) {
  return Array.from(values.keys()).sort((one, other) => values[other] - values[one] || one - other);
}

function keep(row, isKept) {
  for (let id = 0; id < row.length; id++) if (!isKept(row[id])) row[id] = -Infinity;
}

/** Return the highest logit of a row, which must be finite. */
function highest(row) {
  let peak = -Infinity;
  for (const logit of row) {
    if (!(logit <= peak)) peak = logit;
    if (peak !== peak) break;
  }
  if (Number.isFinite(peak)) return peak;
  if (peak === -Infinity) throw new UserError("at least one token must be allowed, none was; loosen the options");
  throw new UserError(`logits must be finite numbers, the highest was: ${peak}; the model is damaged, train it again`);
}
