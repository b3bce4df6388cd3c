// The microphone of the browser, as blocks of samples between -1 and 1.

// The browser would change the sound for telephony: the models were trained on plain recordings.
const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

export class Microphone {
  /** The address is that of recorder.js; `onBlock` is called with each block of samples. */
  constructor(recorder, onBlock) {
    this.recorder = recorder;
    this.onBlock = onBlock;
    this.context = null;
    this.stream = null;
  }

  /** The samples a second, while it is open. */
  get rate() {
    return this.context?.sampleRate ?? 0;
  }

  /**
   * Opens the microphone, for which the browser asks the user, at the samples a second, or at its own if it cannot. Throws
   * the error of the browser: NotAllowedError, ...
   */
  async open(rate) {
    if (!navigator.mediaDevices) throw new DOMException("not on https or localhost", "SecurityError");
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN });
    try {
      const source = await this.source(rate);
      await this.context.audioWorklet.addModule(this.recorder);
      const worklet = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
      worklet.port.onmessage = ({ data }) => this.onBlock(data);
      source.connect(worklet);
      await this.context.resume();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async source(rate) {
    this.context = new AudioContext(rate ? { sampleRate: rate } : {});
    try {
      return this.context.createMediaStreamSource(this.stream);
    } catch (error) {
      if (!rate) throw error; // else the browser does not change the rate of a microphone
      await this.context.close();
      return this.source(0);
    }
  }

  async close() {
    const { context, stream } = this;
    this.context = this.stream = null;
    for (const track of stream?.getTracks() ?? []) track.stop();
    await context?.close();
  }
}
