import type { ComponentChildren } from "preact";
import { count } from "./format";
import { Refused } from "./gateway";

/** An error, in the gateway's words. */
export function Trouble({ error, what }: { error: Error; what: string }) {
  const missing = error instanceof Refused && (error.status === 404 || error.status === 501);
  return <p class="trouble" role="alert">{missing ? `${what} require a gateway with a database: ${error.message}` : error.message}</p>;
}

/** The number of items not shown, and a button to show more. */
export function Rest({ left, what, more }: { left: number; what: string; more: () => void }) {
  if (left <= 0) return null;
  return <p class="empty">{count(left)} more {what}. <button type="button" class="link" onClick={more}>Show more</button></p>;
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return <div class="field"><label><span>{label}</span>{children}</label>{hint && <small>{hint}</small>}</div>;
}
