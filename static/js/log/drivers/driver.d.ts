// What the three drivers have in common: `(src, hooks, options) -> Driver`.

/**
 * - `connecting`: the first time
 * - `open`: events come
 * - `reconnecting`: cut; the next attempt comes in `delay` milliseconds
 * - `lost`: given up for now; `start` tries again
 * - `not-found`: there is no such log
 * - `ended`: nothing more will come
 */
export interface Status {
  state: "connecting" | "open" | "reconnecting" | "lost" | "not-found" | "ended";
  detail?: string;
  delay?: number;
}

export interface Hooks {
  /** Takes events as they come; says whether some are missing, so that the driver asks again from `after()`. */
  dispatch(events: unknown[]): { gap: boolean } | undefined;
  status(status: Status): void;
  /** `seq` of the last event that the log holds. */
  after(): number;
  /** The log has its `log.closed`. */
  closed(): boolean;
}

export interface Driver {
  start(): void;
  stop(): void;
}
