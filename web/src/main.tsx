import "@fontsource-variable/inter";
import "./styles/tokens.css";
import "./styles/base.css";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { HistoryProvider } from "./app/history";
import { LiveProvider } from "./app/live";
import { router } from "./app/router";

const client = new QueryClient({
  defaultOptions: { queries: { retry: false, refetchOnWindowFocus: true, staleTime: 500 } },
});

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <LiveProvider>
        <HistoryProvider>
          <RouterProvider router={router} />
        </HistoryProvider>
      </LiveProvider>
    </QueryClientProvider>
  </StrictMode>,
);
