// The REST API as far as the page needs it. This file and socket.ts alone know addresses.
import { isObject } from "./messages.ts";
import type { Alert, AlertPage, Health } from "./schema.ts";

/** An answer that is not what was asked for. status 0: there was no answer. */
export class APIError extends Error {
  override name = "APIError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export async function getHealth(): Promise<Health> {
  return (await request("/api/v1/health")) as Health;
}

/** The latest alerts, the newest first. */
export async function getAlerts(limit: number): Promise<readonly Alert[]> {
  return ((await request(`/api/v1/alerts?limit=${limit}`)) as AlertPage).items;
}

/** Turns the token into a cookie, which the WebSocket sends too. */
export async function openSession(token: string): Promise<void> {
  await request("/api/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
}

const patience = 10_000; // ms; the server itself gives up on the database after 8 s

async function request(path: string, init: RequestInit = {}): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, cache: "no-store", signal: AbortSignal.timeout(patience) });
  } catch {
    throw new APIError(0, "unreachable", "NetLyra does not answer");
  }
  if (response.status === 204) return null;
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && isObject(body)) return body;
  if (isObject(body) && isObject(body.error)) {
    throw new APIError(response.status, String(body.error.code), String(body.error.message));
  }
  throw new APIError(response.status, "unexpected", `NetLyra answered with status ${response.status} and no reason`);
}
