import { ApiError } from "../api/client";
import { ago } from "../lib/format";
import { useNow } from "../lib/now";
import { Icon } from "./Icon";

/** The server's message, and the age of the data shown below. */
export function ErrorBox({ error, updatedAt, retry }: { error: Error; updatedAt?: number; retry?: () => void }) {
  const now = useNow();
  return (
    <div className="error-box" role="alert">
      <Icon name="warning" />
      <span>
        <strong>{error.message}</strong>
        {error instanceof ApiError && error.status > 0 ? ` (${error.status})` : ""}
        {updatedAt ? ` · showing data from ${ago(now - updatedAt)}` : ""}
      </span>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
