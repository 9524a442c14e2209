// The gateway's API. The key stays in this tab's session storage: there is no cookie that another site could use.

export interface Limit { name: string; limit: number; used: number; share: number }
export interface Spread { p50: number | null; p95: number | null }
export interface Traffic {
  calls: number; failed: number; left: number; tokens: number;
  /** Nano-dollars. */
  cost: number;
  waited: Spread; first: Spread; total: Spread;
}
export interface Deployment { id: string; model: string; resting: number; in_flight: number; limits: Limit[]; traffic: Traffic }
export interface Line { tenant: string; waiting: number; longest: number }
export interface Series {
  at: number[]; calls: number[]; failed: number[]; tokens: number[];
  waited: (number | null)[]; first: (number | null)[]; total: (number | null)[];
}
export interface Group { name: string; waiting: number; line: Line[]; traffic: Traffic; series: Series; deployments: Deployment[] }
export interface Candidate { deployment: string; wait: number | null; binding: string | null }
export interface Decision {
  deployment: string; waited: number; binding: string | null; candidates: Candidate[]; scopes: string[];
  reserved: Record<string, number>; settled: Record<string, number> | null; continued: number | null; failed: [string, string | null][];
}
export interface Call {
  id: string; at: number; model: string; deployment: string; provider: string; served: string; key: string; team: string;
  operation: string; stream: boolean; outcome: "answered" | "failed" | "left"; status: number; error: string;
  waited: number; first: number | null; total: number; usage: Record<string, number>; cost: number | null; attempts: number;
  /** Whether the ledger has the content. */
  kept: boolean;
  decision: Decision | null;
}
/** The content of a call in the spend logs. */
export interface Said { proxy_server_request: unknown; response: unknown }
export interface Scope { kind: string; name: string; in_flight: number; limits: Limit[] }
export interface Picture { at: number; began: number; version: string; groups: Group[]; scopes: Scope[]; calls: Call[] }

export interface Key {
  token: string; key_name: string; key_alias: string | null; team_id: string | null; user_id: string | null; status: string;
  spend: number; max_budget: number | null; budget_duration: string | null; budget_reset_at: string | null; models: string[];
  rpm_limit: number | null; tpm_limit: number | null; max_parallel_requests: number | null; model_rpm_limit: Record<string, number>; model_tpm_limit: Record<string, number>;
  model_max_budget: Record<string, { budget_limit: number; time_period: string | null }>; blocked: boolean; expires: string | null;
}

const KEPT = "headrace.key";

export const key = {
  get: (): string => sessionStorage.getItem(KEPT) ?? "",
  set: (value: string): void => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

export class Refused extends Error {
  constructor(readonly status: number, message: string) { super(message); }
}

export function headers(more: Record<string, string> = {}): Record<string, string> {
  return key.get() ? { authorization: `Bearer ${key.get()}`, ...more } : more;
}

/** A network error has a different text in every browser, so it is replaced. */
async function asked(path: string, how: RequestInit): Promise<Response> {
  try {
    return await fetch(path, how);
  } catch (error) {
    throw error instanceof TypeError ? new Error("the gateway does not respond") : error;
  }
}

async function refused(answer: Response): Promise<Refused> {
  const said = await answer.json().catch(() => null);
  return new Refused(answer.status, said?.error?.message ?? `the gateway responded with status ${answer.status}`);
}

export async function get<T>(path: string): Promise<T> {
  const answer = await asked(path, { headers: headers(), cache: "no-store" });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const answer = await asked(path, { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body) });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

/** The text deltas of a streamed chat. `told` is called first, with the response headers. */
export async function* chat(body: object, left: AbortSignal, told: (headers: Headers) => void): AsyncGenerator<string> {
  const answer = await asked("/v1/chat/completions", {
    method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify({ ...body, stream: true }), signal: left,
  });
  if (!answer.ok || !answer.body) throw await refused(answer);
  told(answer.headers);
  for await (const event of events(answer.body)) {
    if (event === "[DONE]") return;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Refused(200, chunk.error.message);
    yield chunk.choices?.[0]?.delta?.content ?? "";
  }
  throw new Refused(200, "the stream ended early");
}

async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let kept = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (kept + decoder.decode(value, { stream: true })).split("\n\n");
    kept = whole.pop() ?? "";
    for (const event of whole) if (event.startsWith("data: ")) yield event.slice(6);
  }
}
