import { useEffect, useState } from "preact/hooks";
import { clock, count, nano, seconds } from "./format";
import { get } from "./gateway";
import type { Call, Candidate, Decision, Said } from "./gateway";

export function Calls({ calls }: { calls: Call[] }) {
  const [open, setOpen] = useState("");
  if (!calls.length) return <p class="empty">No calls yet. Send one from the playground.</p>;
  return (
    <section class="card">
      <header class="head"><h2>Latest calls</h2><small>of this process; the ledger has all calls</small></header>
      <div class="scroll">
        <table>
          <thead><tr><th>Time</th><th>Model</th><th>Deployment</th><th>Key</th><th>Outcome</th><th class="n">Wait</th>
            <th class="n">First token</th><th class="n">Latency</th><th class="n">Tokens</th><th class="n">Cost</th><th><span class="unseen">Details</span></th></tr></thead>
          <tbody>
            {calls.map((call) => [
              <Row key={call.id} call={call} open={open === call.id} toggle={() => setOpen(open === call.id ? "" : call.id)} />,
              open === call.id && <tr key={`${call.id} why`} class="why"><td colSpan={11}><Why call={call} /></td></tr>,
            ])}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ call, open, toggle }: { call: Call; open: boolean; toggle: () => void }) {
  const [mark, outcome] = { answered: ["calm", "answered"], failed: ["bad", "failed"], left: ["warm", "cancelled"] }[call.outcome];
  const tokens = Object.values(call.usage).reduce((sum, one) => sum + one, 0);
  return (
    <tr>
      <td>{clock(call.at)}</td>
      <td><span class="short" title={call.model}>{call.model}</span>{call.stream && <>{" "}<span class="badge">stream</span></>}</td>
      <td><span class="short" title={call.deployment}>{call.deployment || "–"}</span></td>
      <td><span class="short" title={call.key}>{call.key || "–"}</span></td>
      <td><span class={`badge ${mark}`}>{call.error || outcome}</span></td>
      <td class="n">{seconds(call.waited)}</td>
      <td class="n">{seconds(call.first)}</td>
      <td class="n">{seconds(call.total)}</td>
      <td class="n">{tokens ? count(tokens) : "–"}</td>
      <td class="n">{nano(call.cost)}</td>
      <td><button type="button" class="link" aria-expanded={open} onClick={toggle}>details</button></td>
    </tr>
  );
}

/** Why the call went to this deployment, and why it waited. */
function Why({ call }: { call: Call }) {
  const how = call.decision;
  return (
    <div class="record">
      <p><code>{call.id}</code> {call.operation}{call.served && <> {call.outcome === "answered" ? "answered by" : "sent to"} <strong>{call.provider}/{call.served}</strong></>}, status {call.status}</p>
      {how ? <Reasons how={how} /> : <p>The call ended before a deployment was chosen.</p>}
      {call.kept && <Kept id={call.id} />}
    </div>
  );
}

/** Request and response from the ledger, if content is recorded. */
function Kept({ id }: { id: string }) {
  const [said, setSaid] = useState<Said | null>(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    get<Said[]>(`/spend/logs?request_id=${encodeURIComponent(id)}`)
      .then(([found]) => (found ? setSaid(found) : setTrouble("This call is no longer in the ledger.")))
      .catch((error: Error) => setTrouble(error.message));
  }, [id]);
  if (trouble) return <p class="trouble" role="alert">{trouble}</p>;
  if (!said) return <p class="empty">Loading…</p>;
  return (
    <div class="said">
      <section aria-label="Request"><h3>Request</h3><pre tabIndex={0}>{text(said.proxy_server_request)}</pre></section>
      <section aria-label="Response"><h3>Response</h3><pre tabIndex={0}>{text(said.response)}</pre></section>
    </div>
  );
}

const text = (said: unknown): string => (typeof said === "string" ? said : JSON.stringify(said, null, 2));

function Reasons({ how }: { how: Decision }) {
  return (
    <ul>
      <li>{how.waited > 0.0005
        ? <>Waited <strong>{seconds(how.waited)}</strong>{how.binding && <> for the limit <code>{how.binding}</code></>}.</>
        : <>Did not wait.</>}</li>
      <li>Sent to <strong>{how.deployment}</strong>.</li>
      {how.candidates.map((one) => <li key={one.deployment}>{passedOver(one)}</li>)}
      {how.failed.map(([kind, model], number) => <li key={number}>An earlier attempt{model && <> at {model}</>} failed: {kind.replaceAll("_", " ")}.</li>)}
      {how.continued !== null && <li>Continued after {count(how.continued)} characters from another deployment.</li>}
      {how.scopes.length > 0 && <li>Counted against the limits of {how.scopes.map((scope) => scope.replace(/^model:/, "").split(":").slice(0, 2).join(" ")).filter((scope, at, all) => all.indexOf(scope) === at).join(", ")}.</li>}
      <li>Reserved {amounts(how.reserved)}; {how.settled ? <>used {amounts(how.settled)}</> : "usage unknown"}.</li>
    </ul>
  );
}

function passedOver({ deployment, wait, binding }: Candidate) {
  if (wait === null) return <><strong>{deployment}</strong> had no room until a running call ended{binding && <> (<code>{binding}</code>)</>}.</>;
  if (wait <= 0) return <><strong>{deployment}</strong> also had room.</>;
  return <><strong>{deployment}</strong> would have had room in {seconds(wait)}{binding && <> (<code>{binding}</code>)</>}.</>;
}

const UNITS: Record<string, string> = {
  input: "input token(s)", output: "output token(s)", max_output: "output token(s)", cached: "cached token(s)", requests: "request(s)",
};

function amounts(used: Record<string, number>): string {
  const told = Object.entries(UNITS).flatMap(([name, unit]) => (used[name] ? [`${count(used[name])} ${used[name] === 1 ? unit.replace("(s)", "") : unit.replace("(s)", "s")}`] : []));
  return [...told, ...(used.money ? [nano(used.money)] : [])].join(", ") || "nothing";
}
