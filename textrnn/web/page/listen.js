/** The form of models that listen: the microphone, files of recordings, and what was heard. */
import { Listening } from "../../serve/page/js/audio/listening.js";

const $ = (id) => document.getElementById(id);
const MOST_HEARD = 50; // entries of the list

/**
 * Set up the form.
 *
 * @param {object} page
 * @param {string} page.recorder - Address of the script that records.
 * @param {string} page.unit - What an utterance is: `word` or `text`.
 * @param {(recording: object) => Promise<string>} page.answer - Shows what a recording says, and returns it in a line.
 * @param {(name: string) => string} page.word - Returns a text of the page in the current language.
 * @param {(error: Error) => void} page.fail - Shows an error.
 * @returns {{translate: () => void, stop: () => void}} What to call when the language changes, and to end listening.
 */
export function listenForm({ recorder, unit, answer, word, fail }) {
  const words = {
    idle: () => word("hearingIdle"),
    opening: () => word("hearingOpening"),
    listening: () => word("hearingListening"),
    speech: () => word("hearingSpeech"),
    refused: () => word("hearingRefused"),
    missing: () => word("hearingMissing"),
    insecure: () => word("hearingInsecure"),
    failed: () => word("hearingFailed"),
  };
  let state = "idle";
  const say = (next) => {
    state = next;
    $("hearing").textContent = words[state]();
    const isOn = state === "listening" || state === "speech";
    $("microphone").textContent = isOn ? word("microphoneStop") : word("microphone");
  };
  const hear = async (recording) => {
    try {
      const given = recording instanceof File ? new Uint8Array(await recording.arrayBuffer()) : recording;
      const entry = document.createElement("li");
      const said = await answer(given);
      entry.textContent = recording instanceof File ? `${recording.name}: ${said}` : said;
      $("heard").append(entry);
      if ($("heard").children.length > MOST_HEARD) $("heard").firstChild.remove();
      entry.scrollIntoView({ block: "nearest" });
    } catch (error) {
      fail(error);
    }
  };
  const parts = { button: $("microphone"), file: $("recording"), level: $("level") };
  const listening = new Listening(parts, recorder, hear, say);
  listening.use(unit);
  return { translate: () => say(state), stop: () => listening.stop() };
}
