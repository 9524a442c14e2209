import type { ComponentChildren } from "preact";
import { Refused } from "./gateway";

/** What went wrong, in the gateway's words. */
export function Trouble({ error, what }: { error: Error; what: string }) {
  const missing = error instanceof Refused && (error.status === 404 || error.status === 501);
  return <p class="trouble" role="alert">{missing ? `${what} needs a gateway with a database: ${error.message}` : error.message}</p>;
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return <div class="field"><label><span>{label}</span>{children}</label>{hint && <small>{hint}</small>}</div>;
}
