// One question to the server at a time: a newer one ends the one before.

export class Question {
  /**
   * @param shell the page, which shows errors
   * @param box the element of the answer, busy while the server works
   * @param pause milliseconds without a change before the server is asked
   * @param ask asks: it calls `put`
   */
  constructor(shell, box, pause, ask) {
    this.shell = shell;
    this.box = box;
    this.pause = pause;
    this.ask = ask;
    this.timer = 0;
    this.controller = null;
  }

  /** Asks once nothing has changed for a while. */
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.ask, this.pause);
  }

  /** Ends what is being asked. */
  cancel() {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.finish();
  }

  /** Returns what `request(signal)` gives, or null if it failed or a newer question took its place. */
  async put(request) {
    this.cancel();
    const controller = (this.controller = new AbortController());
    this.box.setAttribute("aria-busy", "true");
    try {
      const answer = await request(controller.signal);
      if (this.controller !== controller) return null;
      this.shell.clearError();
      return answer;
    } catch (error) {
      if (!controller.signal.aborted) this.shell.fail(error, this.ask);
      return null;
    } finally {
      if (this.controller === controller) this.finish();
    }
  }

  finish() {
    this.controller = null;
    this.box.setAttribute("aria-busy", "false");
  }
}
