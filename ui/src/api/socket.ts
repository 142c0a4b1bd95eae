// The connection to the server's live events, as internal/api/asyncapi.yaml specifies it: opened, resumed and acknowledged here, and
// opened again after a wait when it breaks.
import { decode, ProtocolError } from "./messages.ts";
import { APIError, getHealth } from "./rest.ts";
import type { ClientHelloMessage, ClientMessage, ServerMessage } from "./schema.ts";

/** How the connection is. Times are ms of Date.now(). */
export type Link =
  | { readonly kind: "connecting"; readonly attempt: number }
  | { readonly kind: "live" }
  | { readonly kind: "waiting"; readonly attempt: number; readonly until: number; readonly reason: string }
  | { readonly kind: "locked" };

export interface SocketOptions {
  /** Where the page left off; undefined at first. */
  readonly since: () => ClientHelloMessage["since"];
  readonly onMessage: (m: ServerMessage) => void;
  readonly onLink: (l: Link) => void;
  /** Updates a second that are wanted at present. */
  readonly rate: () => number;
}

const firstWait = 250;
const longestWait = 10_000;

/** The wait before attempt n (from 1) in ms: doubling from 0.25 to 10 s, half of it left to chance. */
export function backoff(attempt: number, chance: number): number {
  const full = Math.min(longestWait, firstWait * 2 ** (attempt - 1));
  return full / 2 + (full / 2) * chance;
}

export class LiveSocket {
  readonly #options: SocketOptions;
  #socket: WebSocket | null = null;
  #timer = 0;
  #attempt = 0; // failed ones since it was live
  #latest = 0; // numbers the calls of connect
  #acked = 0;

  constructor(options: SocketOptions) {
    this.#options = options;
  }

  /** Connects now, whatever it was waiting for. */
  async connect(): Promise<void> {
    clearTimeout(this.#timer);
    this.#close();
    this.#options.onLink({ kind: "connecting", attempt: this.#attempt });
    const call = ++this.#latest;
    const problem = await probe();
    if (call !== this.#latest) return; // a later call has overtaken this one
    switch (problem) {
      case null:
        this.#open();
        break;
      case "locked":
        this.#attempt = 0;
        this.#options.onLink({ kind: "locked" });
        break;
      default:
        this.#wait(problem.message);
    }
  }

  /** Says that everything up to seq has been drawn. */
  acknowledge(seq: number): void {
    if (seq <= this.#acked) return;
    this.#acked = seq;
    this.#send({ type: "ack", seq });
  }

  /** Tells the server how many updates a second are wanted from now on. */
  setRate(rate: number): void {
    this.#send({ type: "sub", rate });
  }

  #open(): void {
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#acked = 0;
    let reason = "the connection broke";
    socket.onopen = () => {
      const since = this.#options.since();
      this.#send({ type: "hello", rate: this.#options.rate(), ...(since && { since }) });
    };
    socket.onmessage = (event: MessageEvent<unknown>) => {
      try {
        const m = decode(event.data);
        if (m === null) return;
        if (m.type === "hello") {
          this.#attempt = 0;
          this.#options.onLink({ kind: "live" });
        }
        if (m.type === "bye") reason = m.data.reason;
        this.#options.onMessage(m);
      } catch (e) {
        if (!(e instanceof ProtocolError)) throw e;
        reason = e.message;
        socket.close();
      }
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#wait(reason);
    };
  }

  #wait(reason: string): void {
    this.#attempt++;
    const delay = backoff(this.#attempt, Math.random());
    this.#options.onLink({ kind: "waiting", attempt: this.#attempt, until: Date.now() + delay, reason });
    this.#timer = window.setTimeout(() => void this.connect(), delay);
  }

  #close(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #send(m: ClientMessage): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(m));
  }
}

/** A browser does not tell a page why a WebSocket was refused; the REST API does. */
async function probe(): Promise<null | "locked" | Error> {
  try {
    await getHealth();
    return null;
  } catch (e) {
    if (e instanceof APIError && e.status === 401) return "locked";
    return e instanceof Error ? e : new Error(String(e));
  }
}
