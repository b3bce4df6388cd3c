// What the browser remembers: language and theme for good, the API key until the tab is closed.

const unsaved = {}; // where storage is blocked

export function remember(name, value) {
  keep("localStorage", name, value);
}

export function remembered(name) {
  return read("localStorage", name);
}

export function rememberInTab(name, value) {
  keep("sessionStorage", name, value);
}

export function rememberedInTab(name) {
  return read("sessionStorage", name);
}

function keep(storage, name, value) {
  unsaved[name] = value;
  try {
    if (value) window[storage].setItem(`textrnn.${name}`, value);
    else window[storage].removeItem(`textrnn.${name}`);
  } catch {
    // Kept in `unsaved`.
  }
}

function read(storage, name) {
  try {
    return window[storage].getItem(`textrnn.${name}`) || unsaved[name] || "";
  } catch {
    return unsaved[name] || "";
  }
}
