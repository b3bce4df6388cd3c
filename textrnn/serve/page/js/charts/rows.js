// A choice among answers with their probabilities: each is a button with a bar.

import { make } from "./tokens.js";
import { percent } from "../words.js";

/**
 * Shows the answers and keeps the focus on the one that had it.
 *
 * @param box the element of the rows
 * @param answers [{key, name, probability (null before there is one), chosen, pressed}]
 * @param choose called with the key of the answer that is clicked; without it the rows are no buttons
 */
export function showRows(box, answers, choose) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  box.replaceChildren(
    ...answers.map(({ key, name, probability, chosen, pressed }) => {
      const bar = make("i", "bar");
      bar.style.width = `${100 * (probability ?? 0)}%`;
      const figure = make("span", "figure", probability === null ? "" : percent(probability));
      const row = make(choose ? "button" : "div", chosen ? "row chosen" : "row", make("span", "", name), figure, bar);
      if (!choose) return row;
      row.type = "button";
      row.dataset.key = key;
      row.disabled = probability === null;
      row.setAttribute("aria-pressed", pressed);
      row.addEventListener("click", () => choose(key));
      return row;
    }),
  );
  [...box.children].find((row) => row.dataset.key === focused)?.focus();
}
