import { parseJson } from "../lib/json";

/** The address of the producer: the same origin, unless the page is deployed apart from it. */
export const API: string = (import.meta.env.VITE_API_URL ?? "").replace(/\/$/, "");
/** One worker's endpoint, for a page that is deployed apart. */
export const WORKER: string = (import.meta.env.VITE_WORKER_URL ?? "").replace(/\/$/, "");

/** The token of a page that is deployed apart: no cookie of the producer reaches it. In memory alone. */
let bearer = "";
const listeners = new Set<() => void>();
let isTokenRequired = false;

/** Calls `listener` when the producer begins or ceases to ask for a token; the answer ends that. */
export function onTokenRequired(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const tokenRequired = (): boolean => isTokenRequired;

function setTokenRequired(required: boolean): void {
  if (required === isTokenRequired) return;
  isTokenRequired = required;
  for (const listener of listeners) listener();
}

/** An error of the server with its message: one sentence of plain text. Status 0: no response. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path.startsWith("http") ? path : `${API}${path}`, withToken(path, init));
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "the producer does not answer");
  }
  if (response.status === 401 && !path.startsWith("http")) setTokenRequired(true);
  if (!response.ok) throw new ApiError(response.status, (await response.text()).slice(0, 500) || response.statusText);
  return response;
}

function withToken(path: string, init?: RequestInit): RequestInit | undefined {
  if (bearer === "" || path.startsWith("http")) return init;
  return { ...init, headers: { ...init?.headers, Authorization: `Bearer ${bearer}` } };
}

const SESSION = "/api/session";
const JSON_BODY = { "Content-Type": "application/json" };

/** Exchange a token for the cookie of a session. Raises ApiError; 401: there is no such token. */
export async function logIn(token: string): Promise<void> {
  if (API === "") {
    await request(SESSION, { method: "POST", headers: JSON_BODY, body: JSON.stringify({ token }) });
  } else {
    bearer = token.trim();
    await request(SESSION);
  }
  setTokenRequired(false);
}

export async function logOut(): Promise<void> {
  if (API === "") await request(SESSION, { method: "DELETE", headers: JSON_BODY, body: "{}" });
  bearer = "";
  setTokenRequired(true);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return parseJson(await (await request(path, signal ? { signal } : {})).text()) as T;
}

/** The cursor of the page behind this one, from the Link header. */
export function nextCursor(link: string | null): string | undefined {
  const target = link?.match(/<([^>]*)>\s*;\s*rel="next"/)?.[1];
  return target ? (new URL(target, "http://page").searchParams.get("cursor") ?? undefined) : undefined;
}
