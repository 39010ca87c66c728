import "@fontsource-variable/inter";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/states.css";
import "./styles/tables.css";
import "./styles/jobs.css";
import "./styles/job.css";
import "./styles/dead.css";
import "./styles/overview.css";
import "./styles/enqueue.css";
import "./styles/login.css";
import "./styles/narrow.css";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Access } from "./app/access";
import { HistoryProvider } from "./app/history";
import { LiveProvider } from "./app/live";
import { router } from "./app/router";

const client = new QueryClient({
  defaultOptions: { queries: { retry: false, refetchOnWindowFocus: true, staleTime: 500 } },
});

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Access>
        <LiveProvider>
          <HistoryProvider>
            <RouterProvider router={router} />
          </HistoryProvider>
        </LiveProvider>
      </Access>
    </QueryClientProvider>
  </StrictMode>,
);
