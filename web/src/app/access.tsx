import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState, useSyncExternalStore } from "react";
import { ApiError, logIn, onTokenRequired, tokenRequired } from "../api/client";
import { ErrorBox } from "../ui/ErrorBox";

/** The page, or the question for a token as long as the producer answers 401. */
export function Access({ children }: { children: ReactNode }) {
  return useSyncExternalStore(onTokenRequired, tokenRequired) ? <Login /> : children;
}

function Login() {
  const client = useQueryClient();
  const [token, setToken] = useState("");
  const submit = useMutation({
    mutationFn: () => {
      client.getQueryCache().clear(); // what another token has shown
      return logIn(token);
    },
  });
  const error =
    submit.error instanceof ApiError && submit.error.status === 401
      ? new Error("There is no such token.")
      : submit.error;
  return (
    <main className="login">
      <form
        className="card form"
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) submit.mutate();
        }}
      >
        <h1>WorkQueue</h1>
        <div className="field">
          <label htmlFor="token">Token</label>
          <input
            id="token"
            type="password"
            value={token}
            onChange={(event) => setToken(event.target.value)}
            autoComplete="current-password"
            spellCheck={false}
            aria-describedby="token-note"
          />
          <p id="token-note" className="faint">
            One of API_TOKENS of the producer. It is exchanged for a session of 12 hours.
          </p>
        </div>
        <button type="submit" className="button primary" disabled={!token.trim() || submit.isPending}>
          {submit.isPending ? "Logging in…" : "Log in"}
        </button>
        {error && <ErrorBox error={error} />}
      </form>
    </main>
  );
}
