/** Errors with one line for the user: the rule, what was received, what to do. */

/** An input or a bundle that cannot be used. Its message is one line. */
export class UserError extends Error {
  name = "UserError";
}

/** Return a value as short text for a message. */
export function shown(value) {
  let text;
  try {
    text = typeof value === "bigint" ? `${value}` : JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Throw a UserError unless `value` is a whole number of at least `least`. */
export function requireWholeNumber(name, value, least, advice) {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new UserError(`${name} must be a whole number of at least ${least}, was: ${shown(value)}; ${advice}`);
  }
}
