import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";
import { logOut } from "../api/client";
import { overviewQuery } from "../api/queries";
import { Access } from "./access";

const SECRET = "a-secret-of-sixteen";

function Page() {
  const { data } = useQuery(overviewQuery(false));
  return <p>{data ? data.queue_name : "nothing yet"}</p>;
}

/** A producer that knows one token, and whether it was logged in to. */
function serve() {
  let isOpen = false;
  const fetched = vi.fn(async (url: string, init?: RequestInit) => {
    if (url === "/api/session" && init?.method === "POST") isOpen = JSON.parse(String(init.body)).token === SECRET;
    if (url === "/api/session" && init?.method === "DELETE") isOpen = false;
    else if (!isOpen) return new Response("token required", { status: 401 });
    return url === "/api/overview" ? Response.json({ queue_name: "jobs" }) : new Response(null, { status: 204 });
  });
  vi.stubGlobal("fetch", fetched);
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  render(
    <QueryClientProvider client={client}>
      <Access>
        <Page />
      </Access>
    </QueryClientProvider>,
  );
  return fetched;
}

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test("where the producer asks for a token the page asks for one, and goes on with it", async () => {
  const fetched = serve();
  const field = await screen.findByLabelText("Token");
  expect((field as HTMLInputElement).type).toBe("password");
  await userEvent.type(field, "wrong");
  await userEvent.click(screen.getByRole("button", { name: "Log in" }));
  expect((await screen.findByRole("alert")).textContent).toContain("There is no such token.");
  await userEvent.clear(field);
  await userEvent.type(field, `${SECRET}{Enter}`);
  expect(await screen.findByText("jobs")).toBeTruthy();
  expect(screen.queryByLabelText("Token")).toBeNull();
  const login = fetched.mock.calls.filter(([url]) => url === "/api/session");
  expect(new Headers(login[0]?.[1]?.headers).get("Content-Type")).toBe("application/json");
  const urls = fetched.mock.calls.map(([url]) => url).join();
  expect(urls).not.toContain(SECRET);
  await logOut();
  expect(await screen.findByLabelText("Token")).toBeTruthy();
});
