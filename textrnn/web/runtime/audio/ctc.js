/**
 * Decoding of a recognizer's output, as `textrnn.decoding.ctc`: texts from log-probabilities at each step.
 *
 * A path is a token or the blank at each step. Its text is what remains when repeated tokens are joined and blanks are
 * dropped (Graves et al. 2006). The probability of a text is the sum over all its paths.
 */
import { stateRows } from "../generation.js";
import { byDescendingValue } from "../sampling.js";
import { PAD_ID } from "../tokenizers.js";

export const BLANK = PAD_ID;

/** Return the text of the most probable path, as tokens; `rows` are the log-probabilities of each step. */
export function greedy(rows) {
  const best = rows.map((row) => row.indexOf(Math.max(...row)));
  return best.filter((token, step) => token !== BLANK && token !== best[step - 1]);
}

/** Return the log-probability of a text over all its paths, by the forward recursion of Graves et al. (2006). */
export function logProbability(rows, ids) {
  const states = [BLANK, ...ids.flatMap((id) => [id, BLANK])]; // the tokens with a blank before, between and after
  let reached = states.map(() => -Infinity);
  reached[0] = 0; // before the first step, as if at the first blank
  for (const row of rows) {
    reached = states.map((token, place) => {
      const maySkip = token !== BLANK && token !== states[place - 2]; // the blank between two tokens that differ
      let total = place ? logAddExp(reached[place], reached[place - 1]) : reached[place];
      if (maySkip && place > 1) total = logAddExp(total, reached[place - 2]);
      return total + row[token];
    });
  }
  return reached.slice(-2).reduce(logAddExp);
}

/**
 * Search the texts with the highest scores by a prefix beam search (Hannun et al. 2014), which sums the paths.
 *
 * @param {Float64Array[]} rows - Log-probabilities of each step.
 * @param {number} beams - Prefixes that are kept at each step.
 * @param {object} [scorer] - A language model: `begin()` and `read(tokens, state)` give {logProbs, state}: log-probabilities
 *   of the next token of each text, where that of the blank is the end, and a state {data, batch}.
 * @param {number} alpha - Weight of the language model.
 * @param {number} beta - What each token adds.
 * @returns {Promise<object[]>} Texts {ids, logProb, score}, the best first.
 */
export async function beamSearch(rows, beams, scorer = null, alpha = 0, beta = 0) {
  const first = { ids: [], last: BLANK, blank: 0, token: -Infinity, bonus: 0, row: 0, following: null };
  let prefixes = [first];
  let state = null;
  if (scorer) {
    const begun = await scorer.begin();
    [first.following] = begun.logProbs;
    state = begun.state;
  }
  for (const row of rows) {
    prefixes = best(extended(prefixes, row, alpha, beta), beams);
    const added = prefixes.filter((prefix) => prefix.isNew);
    if (scorer && added.length) {
      const before = stateRows(state, added.map((prefix) => prefix.row), scorer.hiddenDim);
      const read = await scorer.read(added.map((prefix) => prefix.last), before);
      added.forEach((prefix, place) => (prefix.following = read.logProbs[place]));
      state = joined(state, read.state, prefixes, scorer.hiddenDim);
    }
    prefixes = prefixes.map(({ isNew, ...prefix }, place) => ({ ...prefix, row: state && added.length ? place : prefix.row }));
  }
  const found = prefixes.map(({ ids, blank, token, bonus, following }) => {
    const logProb = logAddExp(blank, token);
    return { ids, logProb, score: logProb + bonus + (following ? alpha * following[BLANK] : 0) };
  });
  return byDescendingValue(found.map(({ score }) => score)).map((place) => found[place]);
}

/** Return the prefixes after one more step: those before, then each with one more token. */
function extended(prefixes, row, alpha, beta) {
  const both = prefixes.map(({ blank, token }) => logAddExp(blank, token));
  const kept = prefixes.map((prefix, place) => ({
    ...prefix,
    blank: both[place] + row[BLANK],
    token: prefix.token + row[prefix.last], // the last token again, which adds none
  }));
  const places = new Map(prefixes.map(({ ids }, place) => [ids.join(), place]));
  const longer = prefixes.map((prefix, place) => {
    const ofTokens = row.map((value) => both[place] + value);
    ofTokens[prefix.last] = prefix.blank + row[prefix.last]; // a second such token needs a blank between
    ofTokens[BLANK] = -Infinity;
    return ofTokens;
  });
  prefixes.forEach(({ ids, last }, place) => {
    const shorter = ids.length ? places.get(ids.slice(0, -1).join()) : undefined;
    if (shorter === undefined) return;
    kept[place].token = logAddExp(kept[place].token, longer[shorter][last]); // the same text, on other paths
    longer[shorter][last] = -Infinity;
  });
  const added = [];
  prefixes.forEach((prefix, place) => {
    longer[place].forEach((token, last) => {
      if (token === -Infinity) return;
      const bonus = prefix.bonus + (prefix.following ? alpha * prefix.following[last] : 0) + beta;
      added.push({ ...prefix, last, blank: -Infinity, token, bonus, isNew: true });
    });
  });
  return [...kept, ...added];
}

/** Return the prefixes with the highest scores, those of before first. */
function best(prefixes, beams) {
  const scores = prefixes.map(({ blank, token, bonus }) => logAddExp(blank, token) + bonus);
  const chosen = byDescendingValue(scores).slice(0, beams).filter((place) => scores[place] > -Infinity);
  const found = chosen.map((place) => prefixes[place]);
  const added = found.filter(({ isNew }) => isNew).map((prefix) => ({ ...prefix, ids: [...prefix.ids, prefix.last] }));
  return [...found.filter(({ isNew }) => !isNew), ...added];
}

/** Return the states of prefixes: of those kept from the old state, of the added ones from the new one. */
function joined(old, fresh, prefixes, hiddenDim) {
  const kept = stateRows(old, prefixes.filter(({ isNew }) => !isNew).map(({ row }) => row), hiddenDim);
  const batch = kept.batch + fresh.batch;
  const layers = fresh.data.length / (fresh.batch * hiddenDim);
  const data = new Float32Array(layers * batch * hiddenDim);
  for (let layer = 0; layer < layers; layer++) {
    const part = (states) => states.data.subarray(layer * states.batch * hiddenDim, (layer + 1) * states.batch * hiddenDim);
    data.set(part(kept), layer * batch * hiddenDim);
    data.set(part(fresh), (layer * batch + kept.batch) * hiddenDim);
  }
  return { data, batch };
}

function logAddExp(one, other) {
  const [low, high] = one < other ? [one, other] : [other, one];
  return high === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
