// The state of the page in the fragment of its address: #write?model=shakespeare&prompt=...&seed=7
// A fragment stays in the browser: the server's log never has the text.

const LONGEST = 8000; // characters of an address that messengers and browsers still carry
let pending = 0;

export function readLink() {
  const [tab, query = ""] = splitOnce(location.hash.slice(1), "?");
  return { tab, state: Object.fromEntries(new URLSearchParams(query)) };
}

/** Puts the state into the address, without an entry in the history. */
export function writeLink(tab, state) {
  clearTimeout(pending);
  pending = setTimeout(() => history.replaceState(null, "", `#${tab}?${new URLSearchParams(state)}`), 150);
}

/** Returns the address that restores the state, or "" if it would be too long. */
export function linkOf(tab, state) {
  const address = new URL(location.href);
  address.hash = `${tab}?${new URLSearchParams(state)}`;
  return address.href.length > LONGEST ? "" : address.href;
}

function splitOnce(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
