// The clock of the page: the server's, which stands while the display is paused.

export class Clock {
  #behind = Number.NaN; // ms that this machine's clock is ahead of the server's
  #held = Number.NaN; // where it stands; NaN: it runs

  /** Takes the server's time of a message that came at a time of this machine. The least delay is taken for the difference. */
  hear(serverMs: number, at: number): void {
    const delay = at - serverMs;
    this.#behind = Number.isNaN(this.#behind) ? delay : Math.min(this.#behind, delay);
  }

  /** Forgets the difference: one of the clocks may have been set. */
  forget(): void {
    this.#behind = Number.NaN;
  }

  hold(at: number): void {
    if (Number.isNaN(this.#held)) this.#held = this.now(at);
  }

  release(): void {
    this.#held = Number.NaN;
  }

  /** The server's time in ms, at a time of this machine. */
  now(at: number): number {
    if (!Number.isNaN(this.#held)) return this.#held;
    return at - (Number.isNaN(this.#behind) ? 0 : this.#behind);
  }
}

/** The present of captured packets. A file that is read faster than it was written is ahead of the server's clock. */
export function captureNow(server: number, reached: number): number {
  return reached > server ? reached : server;
}

/** Whether packets are of the present, so that their times can stand in a chart of the last minute. */
export function isPresent(server: number, reached: number): boolean {
  return !(reached - server > 2_000);
}
