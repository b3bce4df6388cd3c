/** Beam search over the targets of source texts, as `textrnn.decoding.beam_search`. */
import { stateRows } from "./generation.js";
import { logSoftmax } from "./sampling.js";
import { BEGINNING_ID, END_ID, PAD_ID } from "./tokenizers.js";

/**
 * Search the most probable targets of several sources at once.
 *
 * @param {Function} step - From ids, a state {data, batch} and the memory to {logits, attention, state}: a row of logits
 *   and of attention for each id.
 * @param {Float32Array[][]} memory - What a step reads of each source: arrays of it.
 * @param {object} state - First state of the decoder.
 * @param {number[]} bounds - Maximum number of tokens of each target.
 * @param {number} beams - Hypotheses that are kept at each step; 1 is greedy.
 * @param {number} lengthPenalty - Power of the length that divides a score.
 * @param {number} hidden - Units of a layer of the state.
 * @returns {Promise<object[][]>} Hypotheses {ids, logProb, score, isWhole, attention} of each source, the best first.
 */
export async function search(step, memory, state, bounds, beams, lengthPenalty, hidden) {
  const found = bounds.map(() => []);
  let live = new Map(bounds.map((_, number) => [number, [{ row: number, logProb: 0, node: null }]]));
  let ids = new Int32Array(bounds.length).fill(BEGINNING_ID);
  let sources = [...live.keys()];
  for (let length = 1; live.size; length++) {
    const read = await step(ids, state, sources.map((number) => memory[number]));
    const [rows, tokens, following] = [[], [], new Map()];
    const whole = (node, logProb, isWhole) => {
      return { ...path(node), logProb, score: logProb / length ** lengthPenalty, isWhole };
    };
    sources = [];
    for (const [number, before] of live) {
      const { extended, done } = extend(before, read, beams);
      found[number].push(...done.map(({ node, logProb }) => whole(node, logProb, true)));
      if (found[number].length < beams && extended.length && length < bounds[number]) {
        following.set(number, extended.map((each, place) => ({ ...each, row: rows.length + place })));
        rows.push(...extended.map(({ row }) => row));
        tokens.push(...extended.map(({ node }) => node.token));
        sources.push(...extended.map(() => number));
      } else if (!found[number].length) { // at the bound, and none has ended
        found[number] = extended.map(({ node, logProb }) => whole(node, logProb, false));
      }
    }
    live = following;
    ids = Int32Array.from(tokens);
    state = stateRows(read.state, rows, hidden);
  }
  return found.map((each) => each.sort((one, other) => other.score - one.score).slice(0, beams));
}

/** Return the best unfinished hypotheses one token longer, with the rows of the ones before, and the ended ones. */
function extend(before, { logits, attention }, beams) {
  const logProbs = before.map(({ row }) => {
    const ofRow = logSoftmax(logits[row]);
    ofRow[PAD_ID] = ofRow[BEGINNING_ID] = -Infinity; // no target has them
    return ofRow;
  });
  const [extended, done] = [[], []];
  // Each hypothesis can end in one way only, so that this many hold enough that do not end.
  const best = highest(before.map(({ logProb }) => logProb), logProbs, 2 * beams);
  for (const [rank, { place, token, total }] of best.entries()) {
    if (total === -Infinity || extended.length === beams) break;
    const { row, node } = before[place];
    if (token !== END_ID) {
      extended.push({ row, logProb: total, node: { parent: node, token, attention: attention[row] } });
    } else if (rank < beams) {
      done.push({ node, logProb: total });
    }
  }
  return { extended, done };
}

/** Return the `count` highest sums of a value and a log-probability of its row, the first ones among equals. */
function highest(values, logProbs, count) {
  const best = [];
  logProbs.forEach((ofRow, place) => {
    for (let token = 0; token < ofRow.length; token++) {
      const total = values[place] + ofRow[token];
      if (best.length === count && !(total > best.at(-1).total)) continue;
      let rank = best.length;
      while (rank && best[rank - 1].total < total) rank--;
      best.splice(rank, 0, { place, token, total });
      if (best.length > count) best.pop();
    }
  });
  return best;
}

/** Return the tokens up to a node, and the attention at each. */
function path(node) {
  const [ids, attention] = [[], []];
  for (; node; node = node.parent) {
    ids.unshift(node.token);
    attention.unshift(node.attention);
  }
  return { ids, attention };
}
