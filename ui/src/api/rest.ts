// The REST API as far as the page needs it. This file and socket.ts alone know addresses.
import { isObject } from "./messages.ts";
import type { Alert, AlertPage, Exception, ExceptionPage, ExceptionPreview, Health, NewException, SensorPage, Series, Triage } from "./schema.ts";

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

/** The traffic second by second from a time in ms until now, as far as the server has kept it: of one sensor, or of all ("") together. */
export async function getSeconds(from: number, sensor: string): Promise<Series> {
  const query = new URLSearchParams({ step: "1", from: new Date(from).toISOString(), ...(sensor === "" ? {} : { sensor }) });
  return (await request(`/api/v1/series?${query}`)) as Series;
}

/** The states of all sensors that the server knows. */
export async function getSensors(): Promise<SensorPage> {
  return (await request("/api/v1/sensors")) as SensorPage;
}

export interface AlertsAsked {
  readonly limit: number;
  readonly triage?: "hidden";
  readonly state?: "open";
  readonly sensor?: string;
  /** Exclusive. */
  readonly to?: string;
  /** Of a page of the same filters. */
  readonly cursor?: string;
}

/** A page of alerts, the newest first. Without triage it is of the list: what is hidden is left out. */
export async function getAlerts(asked: AlertsAsked): Promise<AlertPage> {
  const query = new URLSearchParams(Object.entries(asked).map(([k, v]) => [k, String(v)]));
  return (await request(`/api/v1/alerts?${query}`)) as AlertPage;
}

/** One alert, listed or hidden. */
export async function getAlert(id: string): Promise<Alert> {
  return (await request(`/api/v1/alerts/${encodeURIComponent(id)}`)) as Alert;
}

/** Records what a person has decided about an alert. */
export async function setTriage(id: string, triage: Triage): Promise<void> {
  await request(`/api/v1/alerts/${encodeURIComponent(id)}`, json("PATCH", { triage }));
}

export async function getExceptions(): Promise<readonly Exception[]> {
  return ((await request("/api/v1/exceptions")) as ExceptionPage).items;
}

/** What the exception would hide; nothing is stored. */
export async function previewException(e: NewException): Promise<ExceptionPreview> {
  return (await request("/api/v1/exceptions/preview", json("POST", e))) as ExceptionPreview;
}

export async function addException(e: NewException): Promise<Exception> {
  return (await request("/api/v1/exceptions", json("POST", e))) as Exception;
}

export async function removeException(id: string): Promise<void> {
  await request(`/api/v1/exceptions/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Turns the token into a cookie, which the WebSocket sends too. */
export async function openSession(token: string): Promise<void> {
  await request("/api/v1/session", json("POST", { token }));
}

/** Forgets the cookie. */
export async function closeSession(): Promise<void> {
  await request("/api/v1/session", { method: "DELETE" });
}

/** Whether the server demands a token of who has none. */
export async function demandsToken(): Promise<boolean> {
  const response = await fetch("/api/v1/health", { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(patience) });
  return response.status === 401;
}

function json(method: string, body: object): RequestInit {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
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
