// Series of numbers: read from pasted text, and compared with a forecast.

const MISSING = new Set(["", "na", "nan", "null", "none", "n/a", "-"]);

export class SeriesError extends Error {
  /** @param key key of the words; @param values what the words name */
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

/**
 * Reads a table of rows, oldest first, with or without a header, separated by commas, semicolons, tabs or spaces.
 *
 * Returns {columns: [{name, values}], times, gaps}: the columns of numbers, and the labels of the rows from the first
 * column that is not one of them, else their numbers. A gap takes the value before it; `gaps` counts them.
 */
export function readSeries(text) {
  const lines = text
    .replace(/^\uFEFF/, "")
    .split(/\r\n|\n|\r/)
    .filter((line) => line.trim());
  if (!lines.length) throw new SeriesError("series.empty");
  const separator = separatorOf(lines);
  // One line without a header is a series written in a row.
  let rows = lines.map((line) => cellsOf(line, separator));
  if (rows.length === 1 && rows[0].length > 1) rows = rows[0].map((cell) => [cell]);
  const width = rows[0].length;
  const hasHeader =
    rows.length > 1 && rows[0].some((cell, at) => numberOf(cell) === null && numberOf(rows[1][at]) !== null);
  const header = hasHeader ? rows.shift() : [];
  const first = hasHeader ? 2 : 1;
  const bad = rows.findIndex((row) => row.length !== width);
  if (bad >= 0) throw new SeriesError("series.width", { line: bad + first, found: rows[bad].length, wanted: width });
  const columns = [];
  let times = null;
  let gaps = 0;
  for (let at = 0; at < width; at++) {
    const cells = rows.map((row) => row[at]);
    const values = cells.map(numberOf);
    const begin = cells.findIndex((cell) => !isMissing(cell));
    if (begin < 0 || values[begin] === null) {
      times ??= cells; // dates or names
      continue;
    }
    const wrong = cells.findIndex((cell, row) => values[row] === null && !isMissing(cell));
    if (wrong >= 0) throw new SeriesError("series.number", { line: wrong + first, found: cells[wrong].slice(0, 30) });
    gaps += values.filter((value) => value === null).length;
    columns.push({ name: header[at] || "", values: filled(values, values[begin]) });
  }
  if (!columns.length) throw new SeriesError("series.none");
  if (!times && columns.length > 1 && isCount(columns[0].values)) times = columns.shift().values.map(String);
  return { columns, times: times ?? rows.map((_, row) => String(row + 1)), gaps };
}

/** Returns the mean absolute errors of a forecast, and of repeating the last value before it. */
export function errorsOf(history, held, predicted) {
  const last = history[history.length - 1];
  const mean = (error) => held.reduce((sum, value, at) => sum + Math.abs(error(value, at)), 0) / held.length;
  return { model: mean((value, at) => value - predicted[at]), naive: mean((value) => value - last) };
}

/** Returns an example as CSV: twelve years of months with growth, a season, and noise that is always the same. */
export function exampleSeries() {
  let state = 7;
  const noise = () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 2147483648 - 0.5;
  };
  const lines = ["month,visitors"];
  for (let month = 0; month < 144; month++) {
    const level = 120 + 0.9 * month;
    const season = 30 * Math.sin((2 * Math.PI * (month - 3)) / 12) + 10 * Math.sin((4 * Math.PI * month) / 12);
    const date = `${2013 + Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, "0")}`;
    lines.push(`${date},${Math.round(level + season + 8 * noise())}`);
  }
  return lines.join("\n");
}

function separatorOf(lines) {
  const sample = lines.slice(0, 20);
  for (const separator of ["\t", ";", ","]) {
    if (sample.every((line) => line.includes(separator))) return separator;
  }
  return sample.some((line) => /\S\s+\S/.test(line)) ? " " : ",";
}

/** Splits a line; a quoted cell may contain the separator. */
function cellsOf(line, separator) {
  if (separator === " ") return line.trim().split(/\s+/);
  const cells = [];
  const pattern = new RegExp(`(?:"((?:[^"]|"")*)"|([^${separator}]*))(?:${separator}|$)`, "y");
  while (pattern.lastIndex <= line.length) {
    const found = pattern.exec(line);
    if (!found) return line.split(separator).map((cell) => cell.trim());
    cells.push((found[1]?.replaceAll('""', '"') ?? found[2]).trim());
    if (!found[0].endsWith(separator)) break;
  }
  return cells;
}

function numberOf(cell = "") {
  const plain = cell.replace(/^(-?\d{1,3})((?:[ '_]\d{3})+)/, (whole) => whole.replace(/[ '_]/g, ""));
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : null;
}

function isMissing(cell) {
  return MISSING.has(cell.toLowerCase());
}

function isCount(values) {
  return values.length > 2 && values.every((value, at) => Number.isInteger(value) && value === values[0] + at);
}

function filled(values, first) {
  let last = first;
  return values.map((value) => (last = value ?? last));
}
