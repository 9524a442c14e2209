import { useState } from "preact/hooks";
import { Chart } from "./chart";
import { count, nano, percent, seconds } from "./format";
import type { Deployment, Group, Limit, Picture, Scope, Traffic } from "./gateway";
import { Field, Rest } from "./parts";

/** Groups shown at first: each has its own chart. */
const GROUPS = 20;
const DEPLOYMENTS = 50;

export function Overview({ picture }: { picture: Picture }) {
  const [sought, setSought] = useState("");
  const [most, setMost] = useState(GROUPS);
  const found = picture.groups.filter((group) => matches(group, sought.trim().toLowerCase()));
  return (
    <>
      {picture.groups.length === 0 && <p class="empty">No models yet. Add them to the configuration, or with /model/new.</p>}
      {picture.groups.length > GROUPS && (
        <Field label="Filter models and deployments">
          <input type="search" value={sought} onInput={(event) => { setSought(event.currentTarget.value); setMost(GROUPS); }} />
        </Field>
      )}
      {picture.groups.length > 0 && found.length === 0 && <p class="empty">None of {count(picture.groups.length)} models match.</p>}
      {found.slice(0, most).map((group) => <GroupCard key={group.name} group={group} />)}
      <Rest left={found.length - most} what="models" more={() => setMost(most + GROUPS)} />
      {picture.scopes.length > 0 && <Scopes scopes={picture.scopes} />}
    </>
  );
}

const matches = (group: Group, sought: string): boolean =>
  [group.name, ...group.deployments.map((one) => one.id)].some((name) => name.toLowerCase().includes(sought));

function GroupCard({ group }: { group: Group }) {
  const [most, setMost] = useState(DEPLOYMENTS);
  return (
    <section class="card" aria-labelledby={`group-${group.name}`}>
      <header class="head">
        <h2 id={`group-${group.name}`}>{group.name}</h2>
        <Figures traffic={group.traffic} waiting={group.waiting} />
      </header>
      <Chart series={group.series} label={`${group.name}: ${count(group.traffic.calls)} calls in the last 15 minutes`} />
      <div class="scroll">
        <table>
          <thead><tr><th>Deployment</th><th>Limits used</th><th class="n">In flight</th><th class="n">Calls</th><th class="n">Failed</th>
            <th class="n">First token p50</th><th class="n">Latency p50</th><th class="n">Latency p95</th></tr></thead>
          <tbody>{group.deployments.slice(0, most).map((one) => <DeploymentRow key={one.id} one={one} />)}</tbody>
        </table>
      </div>
      <Rest left={group.deployments.length - most} what="deployments" more={() => setMost(most + DEPLOYMENTS)} />
      {group.line.length > 0 && <Queue group={group} />}
    </section>
  );
}

function Figures({ traffic, waiting }: { traffic: Traffic; waiting: number }) {
  const shown: [string, string, boolean?][] = [
    ["queued", count(waiting), waiting > 0], ["calls", count(traffic.calls)], ["failed", count(traffic.failed), traffic.failed > 0],
    ["wait p95", seconds(traffic.waited.p95)], ["latency p50", seconds(traffic.total.p50)], ["tokens", count(traffic.tokens)],
    ["cost", nano(traffic.cost)],
  ];
  return (
    <dl class="figures">
      {shown.map(([name, value, marked]) => <div key={name} class={marked ? "marked" : ""}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

function DeploymentRow({ one }: { one: Deployment }) {
  return (
    <tr>
      <td><strong>{one.id}</strong>{one.resting > 0 && <span class="badge warm">cooldown {seconds(one.resting)}</span>}<br /><small>{one.model}</small></td>
      <td>{one.limits.length ? one.limits.map((limit) => <Gauge key={limit.name} limit={limit} />) : <small>no limits</small>}</td>
      <td class="n">{one.in_flight}</td>
      <td class="n">{count(one.traffic.calls)}</td>
      <td class={one.traffic.failed ? "n bad" : "n"}>{count(one.traffic.failed)}</td>
      <td class="n">{seconds(one.traffic.first.p50)}</td>
      <td class="n">{seconds(one.traffic.total.p50)}</td>
      <td class="n">{seconds(one.traffic.total.p95)}</td>
    </tr>
  );
}

export function Gauge({ limit }: { limit: Limit }) {
  const share = Math.max(0, Math.min(1, limit.share));
  const amount = limit.name.includes("budget") ? nano : count;
  const told = `${limit.name}: ${amount(limit.used)} of ${amount(limit.limit)} used`;
  return (
    <div class="gauge" title={told}>
      <span class="name">{limit.name}</span>
      <span class="bar" role="meter" aria-label={told} aria-valuenow={Math.round(share * 100)} aria-valuemin={0} aria-valuemax={100}>
        <span class={share > 0.9 ? "high" : ""} style={{ width: `${share * 100}%` }} />
      </span>
      <span class="share">{percent(share)}</span>
    </div>
  );
}

function Queue({ group }: { group: Group }) {
  return (
    <div class="queue">
      <h3>Queue</h3>
      <ul>
        {group.line.map((one) => (
          <li key={one.tenant}><strong>{one.tenant || "no tenant"}</strong> {count(one.waiting)} waiting, longest {seconds(one.longest)}</li>
        ))}
      </ul>
    </div>
  );
}

function Scopes({ scopes }: { scopes: Scope[] }) {
  return (
    <section class="card" aria-labelledby="scopes">
      <header class="head"><h2 id="scopes">Limits of keys and teams</h2></header>
      <div class="scroll">
        <table>
          <thead><tr><th>Key or team</th><th>Limits used</th><th class="n">In flight</th></tr></thead>
          <tbody>
            {scopes.map((scope) => (
              <tr key={`${scope.kind} ${scope.name}`}>
                <td><small>{scope.kind}</small> <strong>{scope.name}</strong></td>
                <td>{scope.limits.map((limit) => <Gauge key={limit.name} limit={limit} />)}</td>
                <td class="n">{scope.in_flight}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
