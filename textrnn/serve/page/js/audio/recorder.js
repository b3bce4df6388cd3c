// Runs in the browser's audio thread: sends the samples of its first input, mixed to one channel, 20 ms at a time.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 50));
    this.filled = 0;
  }

  process([channels]) {
    for (let time = 0; time < (channels[0]?.length ?? 0); time++) {
      let total = 0;
      for (const samples of channels) total += samples[time];
      this.block[this.filled++] = total / channels.length;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
