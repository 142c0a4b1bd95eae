// The border to the WebSocket: what comes in is unknown until it is decoded here. The server is our own and held to
// internal/api/asyncapi.yaml by its tests, so the envelope is checked, and of the data what the page would stumble over.
import type { Columns, ServerMessage } from "./schema.ts";

/** A message is not what internal/api/asyncapi.yaml says. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

/** The message, or null for one of a type that this page does not know. Throws ProtocolError. */
export function decode(raw: unknown): ServerMessage | null {
  const m = parse(raw);
  if (!isObject(m) || m.v !== 1 || !isObject(m.data) || !isNumber(m.seq) || !isNumber(m.ts_us) || typeof m.epoch !== "string") {
    throw new ProtocolError("the server's message has no envelope that this page knows; reload the page");
  }
  switch (m.type) {
    case "snapshot":
      if (m.data.connection !== undefined) checkColumns(m.data.connection);
      if (m.data.stats !== undefined) checkStats(m.data.stats);
      break;
    case "connection":
      checkColumns(m.data);
      break;
    case "stats":
      checkStats(m.data);
      break;
    case "alert":
      checkAlert(m.data);
      break;
    case "hello":
    case "resync":
    case "bye":
      break;
    default:
      return null;
  }
  return m as unknown as ServerMessage;
}

function parse(raw: unknown): unknown {
  if (typeof raw !== "string") throw new ProtocolError("the server sent a message that is not text");
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    throw new ProtocolError("the server sent a message that is not JSON");
  }
}

export function isObject(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v);
}

function isNumber(v: unknown): v is number {
  return typeof v === "number" && Number.isFinite(v);
}

const columnNames = [
  "id", "sensor", "src_ip", "dst_ip", "src_port", "dst_port", "proto", "state", "sni", "first_ts_us", "last_ts_us", "packets_up",
  "packets_down", "bytes_up", "bytes_down", "alert", "rate_up", "rate_down", "score",
] as const satisfies readonly (keyof Columns)[];

function checkColumns(data: unknown): void {
  if (!isObject(data) || !Array.isArray(data.id) || !Array.isArray(data.gone)) {
    throw new ProtocolError("the server's connections have no columns");
  }
  const rows = data.id.length;
  for (const name of columnNames) {
    const column = data[name];
    if (!Array.isArray(column) || column.length !== rows) {
      throw new ProtocolError(`the server's column ${name} is not as long as the others`);
    }
  }
}

function checkStats(data: unknown): void {
  if (!isObject(data) || !isObject(data.connections) || !isObject(data.detector) || !Array.isArray(data.drops)) {
    throw new ProtocolError("the server's numbers are incomplete");
  }
}

function checkAlert(data: unknown): void {
  if (!isObject(data) || typeof data.id !== "string" || !isNumber(data.rev) || typeof data.summary !== "string") {
    throw new ProtocolError("the server sent an alert without id, revision or sentence");
  }
}

/** A count, which is a text above 2^53. The page shows three digits, so a number is near enough. */
export function toNumber(n: number | string): number {
  return typeof n === "number" ? n : Number(n);
}
