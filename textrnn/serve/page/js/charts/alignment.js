// An alignment as a table of colours: a row for each output token, a column for each source token.
//
// The table is one stop of the Tab key; arrow keys, Home and End move from row to row. A line below it spells out the row
// under the pointer or the keyboard. The page that `textrnn export --web` writes has this module too: it imports nothing.

const MOST_CELLS = 20_000;
const STRONG = 0.1; // attention from which on a source token is spelled out

export class AlignmentTable {
  /**
   * @param box the element of the table
   * @param line the element of the row in words, a status for screen readers
   * @param percent function from a weight to its text
   */
  constructor(box, line, percent) {
    this.box = box;
    this.line = line;
    this.percent = percent;
    this.alignment = null;
    this.at = -1;
    for (const kind of ["pointerover", "click"]) {
      box.addEventListener(kind, (event) => {
        const row = event.target.closest("tbody tr");
        if (row) this.mark(row.sectionRowIndex);
      });
    }
    box.addEventListener("keydown", (event) => this.key(event));
  }

  /** Shows an alignment {source, output, weights}, or nothing for null. Returns whether there is a table to see. */
  show(alignment) {
    const { source = [], output = [], weights = [] } = alignment ?? {};
    const fits = output.length > 0 && source.length * output.length <= MOST_CELLS;
    this.alignment = fits ? { source, output, weights } : null;
    this.at = -1;
    this.line.textContent = "";
    this.box.replaceChildren(...(fits ? [this.table()] : []));
    return fits;
  }

  table() {
    const { source, output, weights } = this.alignment;
    const table = document.createElement("table");
    table.className = "heat";
    if (source.some((token) => token.length > 2)) table.classList.add("long");
    const head = table.createTHead().insertRow();
    head.append(document.createElement("td"), ...source.map((token) => header("col", token)));
    const body = table.createTBody();
    output.forEach((token, at) => {
      const row = body.insertRow();
      row.append(header("row", token));
      for (const weight of weights[at]) {
        const cell = row.insertCell();
        cell.style.setProperty("--weight", `${Math.round(100 * weight)}%`);
        const said = document.createElement("span");
        if (weight >= STRONG) said.textContent = this.percent(weight);
        cell.append(said);
      }
    });
    return table;
  }

  mark(at) {
    if (at === this.at) return;
    this.at = at;
    const rows = this.box.querySelectorAll("tbody tr");
    rows.forEach((row, index) => row.classList.toggle("now", index === at));
    this.line.textContent = this.said(at);
  }

  /** Returns a row in words: the source tokens that the output token was made from, the strongest first. */
  said(at) {
    const { source, output, weights } = this.alignment;
    const order = [...source.keys()].sort((one, other) => weights[at][other] - weights[at][one]);
    const strong = order.filter((place, rank) => rank === 0 || weights[at][place] >= STRONG);
    const parts = strong.map((place) => `${visible(source[place])} (${this.percent(weights[at][place])})`);
    return `${visible(output[at])} ← ${parts.join(", ")}`;
  }

  key(event) {
    if (!this.alignment || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.alignment.output.length - 1;
    const moves = { ArrowDown: this.at + 1, ArrowUp: this.at < 0 ? last : this.at - 1, Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.mark(Math.min(last, Math.max(0, moves[event.key])));
    this.box.querySelector(".now").scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function header(scope, token) {
  const cell = document.createElement("th");
  cell.scope = scope;
  const text = document.createElement("span");
  text.textContent = visible(token);
  cell.append(text);
  return cell;
}

/** Returns a token with a sign for white space. */
function visible(token) {
  return token.trim() ? token : "␣";
}
