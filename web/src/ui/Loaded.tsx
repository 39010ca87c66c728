import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ErrorBox } from "./ErrorBox";
import { Skeleton } from "./Skeleton";

type Props<Data> = {
  query: Pick<UseQueryResult<Data>, "data" | "error" | "dataUpdatedAt" | "refetch">;
  /** Is shown where `isEmpty`; without it a list of nothing. */
  empty?: ReactNode;
  isEmpty?: (data: Data) => boolean;
  /** Lines of the skeleton. */
  rows?: number;
  /** Say nothing of an error as long as there are older data: another part of the page does. */
  quiet?: boolean;
  children: (data: Data) => ReactNode;
};

/** A query in its four states: loading, failed (above older data, if there are any), empty, loaded. */
export function Loaded<Data>({ query, empty, isEmpty = isEmptyList, rows = 6, quiet = false, children }: Props<Data>) {
  const { data, error, dataUpdatedAt, refetch } = query;
  const hasData = data !== undefined;
  return (
    <>
      {error && !(quiet && hasData) && (
        <ErrorBox error={error} {...(quiet ? {} : { updatedAt: dataUpdatedAt, retry: () => void refetch() })} />
      )}
      {!hasData && !error && <Skeleton rows={rows} />}
      {hasData && (empty !== undefined && isEmpty(data) ? empty : children(data))}
    </>
  );
}

function isEmptyList(data: unknown): boolean {
  return Array.isArray(data) && data.length === 0;
}
