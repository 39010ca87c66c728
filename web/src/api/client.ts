import { parseJson } from "../lib/json";

/** The address of the producer: the same origin, unless the page is deployed apart from it. */
export const API: string = (import.meta.env.VITE_API_URL ?? "").replace(/\/$/, "");
/** One worker's endpoint, for a page that is deployed apart. */
export const WORKER: string = (import.meta.env.VITE_WORKER_URL ?? "").replace(/\/$/, "");

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
    response = await fetch(path.startsWith("http") ? path : `${API}${path}`, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "the producer does not answer");
  }
  if (!response.ok) throw new ApiError(response.status, (await response.text()).slice(0, 500) || response.statusText);
  return response;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return parseJson(await (await request(path, signal ? { signal } : {})).text()) as T;
}

/** The cursor of the page behind this one, from the Link header. */
export function nextCursor(link: string | null): string | undefined {
  const target = link?.match(/<([^>]*)>\s*;\s*rel="next"/)?.[1];
  return target ? (new URL(target, "http://page").searchParams.get("cursor") ?? undefined) : undefined;
}
