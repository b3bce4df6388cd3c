/** The samples in the bytes of a .wav file: whole numbers of 8 to 32 bits, or floats, of any number of channels. */
import { UserError } from "../errors.js";

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe; // the format stands in the first two bytes of an identifier
const FORMATS = { 2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "ADPCM", 0x31: "GSM", 0x55: "MP3" };

const READERS = {
  [`${PCM} 8`]: (view, place) => (view.getUint8(place) - 128) / 128,
  [`${PCM} 16`]: (view, place) => view.getInt16(place, true) / 2 ** 15,
  [`${PCM} 24`]: (view, place) => (view.getUint16(place, true) + view.getInt8(place + 2) * 2 ** 16) / 2 ** 23,
  [`${PCM} 32`]: (view, place) => view.getInt32(place, true) / 2 ** 31,
  [`${FLOAT} 32`]: (view, place) => view.getFloat32(place, true),
  [`${FLOAT} 64`]: (view, place) => view.getFloat64(place, true),
};

/**
 * Return the samples of a .wav file, a Float32Array for each channel, and their rate: {channels, rate}.
 *
 * @param {Uint8Array} bytes - The file.
 * @param {string} place - Its name, for messages.
 * @throws {UserError} It is no .wav file, has no samples, or is compressed.
 */
export function decodeWav(bytes, place) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const refuse = (reason) => {
    throw new UserError(`a recording must be a .wav file that can be decoded, ${place} is not: ${reason}; convert it`);
  };
  if (view.byteLength < 12 || nameAt(view, 0) !== "RIFF" || nameAt(view, 8) !== "WAVE") refuse("it has no RIFF header");
  let format;
  for (let begin = 12; begin + 8 <= view.byteLength; ) {
    const [name, size] = [nameAt(view, begin), view.getUint32(begin + 4, true)];
    begin += 8;
    const end = Math.min(begin + size, view.byteLength); // a file that was streamed says more than it has
    if (name === "fmt " && end - begin >= 16) format = formatAt(view, begin, end - begin);
    if (name === "data") return format ? samplesOf(view, begin, end, format, refuse) : refuse("it does not say its format");
    begin = end + (size % 2);
  }
  return refuse("it has no samples");
}

function nameAt(view, place) {
  return String.fromCharCode(...[0, 1, 2, 3].map((index) => view.getUint8(place + index)));
}

function formatAt(view, begin, size) {
  const named = view.getUint16(begin, true);
  return {
    format: named === EXTENSIBLE && size >= 26 ? view.getUint16(begin + 24, true) : named,
    channels: view.getUint16(begin + 2, true),
    rate: view.getUint32(begin + 4, true),
    bits: view.getUint16(begin + 14, true),
  };
}

function samplesOf(view, begin, end, { format, channels, rate, bits }, refuse) {
  const read = READERS[`${format} ${bits}`];
  if (!read) refuse(`it has samples of ${bits} bits in format ${FORMATS[format] ?? format}`);
  if (!channels) refuse("it has no channels");
  const width = bits / 8;
  const count = Math.floor((end - begin) / (width * channels));
  const found = Array.from({ length: channels }, () => new Float32Array(count));
  for (let time = 0, place = begin; time < count; time++) {
    for (let channel = 0; channel < channels; channel++, place += width) found[channel][time] = read(view, place);
  }
  return { channels: found, rate };
}
