import { useEffect, useState } from "preact/hooks";
import { count, dollars } from "./format";
import { get, type Key, post } from "./gateway";
import { Field, Trouble } from "./parts";

interface Draft { key_alias: string; models: string; rpm_limit: string; tpm_limit: string; max_budget: string; budget_duration: string; duration: string }
const EMPTY: Draft = { key_alias: "", models: "", rpm_limit: "", tpm_limit: "", max_budget: "", budget_duration: "", duration: "" };

/** The form as a request body. Empty fields are omitted for a new key and reset for an existing one, except the lifetime. */
function terms(draft: Draft, before?: Key): Record<string, unknown> {
  const numbers = { rpm_limit: draft.rpm_limit, tpm_limit: draft.tpm_limit, max_budget: draft.max_budget };
  const said: Record<string, unknown> = {
    key_alias: draft.key_alias || null,
    models: draft.models ? draft.models.split(/[\s,]+/).filter(Boolean) : null,
    budget_duration: draft.budget_duration || null,
    ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, value === "" ? null : Number(value)])),
  };
  if (draft.duration) said.duration = draft.duration;
  return before ? said : Object.fromEntries(Object.entries(said).filter(([, value]) => value !== null));
}

const draftOf = (one: Key): Draft => ({
  key_alias: one.key_alias ?? "", models: one.models.join(", "), rpm_limit: String(one.rpm_limit ?? ""), tpm_limit: String(one.tpm_limit ?? ""),
  max_budget: String(one.max_budget ?? ""), budget_duration: one.budget_duration ?? "", duration: "",
});

export function Keys() {
  const [keys, setKeys] = useState<Key[]>();
  const [trouble, setTrouble] = useState<Error>();
  const [editing, setEditing] = useState<Key | "new">();
  const [made, setMade] = useState("");
  const look = () => get<{ keys: Key[] }>("/key/list?return_full_object=true&size=100")
    .then((found) => { setKeys(found.keys); setTrouble(undefined); }, setTrouble);
  useEffect(() => { void look(); }, []);
  const act = async (path: string, body: object) => {
    try {
      const answer = await post<{ key?: string }>(path, body);
      if (path === "/key/generate" || path === "/key/regenerate") setMade(answer.key ?? "");
      setEditing(undefined);
      await look();
    } catch (error) { setTrouble(error as Error); }
  };
  return (
    <section class="card">
      <header class="head"><h2>Virtual keys</h2><button type="button" onClick={() => { setEditing("new"); setMade(""); }}>New key</button></header>
      {trouble && <Trouble error={trouble} what="Keys" />}
      {made && <p class="made" role="status">Copy this key now, it is not shown again: <code>{made}</code></p>}
      {editing && <Form key={editing === "new" ? "new" : editing.token} before={editing === "new" ? undefined : editing} act={act} close={() => setEditing(undefined)} />}
      {keys && (keys.length ? <Table keys={keys} act={act} edit={(one) => { setEditing(one); setMade(""); }} /> : <p class="empty">No keys yet. Only the master key can call models.</p>)}
    </section>
  );
}

type Act = (path: string, body: object) => Promise<void>;

function Form({ before, act, close }: { before?: Key; act: Act; close: () => void }) {
  const [draft, setDraft] = useState<Draft>(before ? draftOf(before) : EMPTY);
  const bound = (name: keyof Draft) => ({
    name, value: draft[name], onInput: (event: { currentTarget: HTMLInputElement }) => setDraft({ ...draft, [name]: event.currentTarget.value }),
  });
  const send = (event: Event) => {
    event.preventDefault();
    void (before ? act("/key/update", { key: before.token, ...terms(draft, before) }) : act("/key/generate", terms(draft)));
  };
  return (
    <form class="form" onSubmit={send} aria-label={before ? "Edit key" : "New key"}>
      <Field label="Name"><input {...bound("key_alias")} autofocus /></Field>
      <Field label="Models" hint="Names or patterns. Empty: all."><input {...bound("models")} placeholder="gpt-4o, claude-*" /></Field>
      <Field label="Requests per minute"><input {...bound("rpm_limit")} type="number" min="1" step="1" /></Field>
      <Field label="Tokens per minute"><input {...bound("tpm_limit")} type="number" min="1" step="1" /></Field>
      <Field label="Budget ($)"><input {...bound("max_budget")} type="number" min="0" step="any" /></Field>
      <Field label="Budget period" hint="24h, 7d, 1mo. Empty: never reset."><input {...bound("budget_duration")} pattern="[1-9][0-9]*(s|m|h|d|w|mo)" /></Field>
      <Field label="Expires in" hint={before ? "12h, 30d. Empty: unchanged." : "12h, 30d. Empty: never."}><input {...bound("duration")} pattern="[1-9][0-9]*(s|m|h|d|w|mo)" /></Field>
      <div class="buttons"><button type="submit">{before ? "Save" : "Create"}</button><button type="button" class="quiet" onClick={close}>Cancel</button></div>
    </form>
  );
}

function Table({ keys, act, edit }: { keys: Key[]; act: Act; edit: (one: Key) => void }) {
  return (
    <div class="scroll">
      <table>
        <thead><tr><th>Key</th><th>Models</th><th>Limits</th><th>Spend</th><th>Status</th><th><span class="unseen">Actions</span></th></tr></thead>
        <tbody>{keys.map((one) => <Row key={one.token} one={one} act={act} edit={() => edit(one)} />)}</tbody>
      </table>
    </div>
  );
}

/** Limits on single models. */
function ofModels(one: Key): string[] {
  return [
    ...Object.entries(one.model_rpm_limit).map(([model, most]) => `${model} ${count(most)} rpm`),
    ...Object.entries(one.model_tpm_limit).map(([model, most]) => `${model} ${count(most)} tpm`),
    ...Object.entries(one.model_max_budget).map(([model, most]) => `${model} ${dollars(most.budget_limit)}${most.time_period === null ? "" : ` per ${most.time_period}`}`),
  ];
}

function Row({ one, act, edit }: { one: Key; act: Act; edit: () => void }) {
  const name = one.key_alias ?? one.key_name;
  const limits = [one.rpm_limit && `${count(one.rpm_limit)} rpm`, one.tpm_limit && `${count(one.tpm_limit)} tpm`, one.max_parallel_requests && `${count(one.max_parallel_requests)} concurrent`, ...ofModels(one)];
  return (
    <tr>
      <td><strong>{name}</strong><br /><small>{one.key_name}{one.team_id && `, team ${one.team_id}`}</small></td>
      <td>{one.models.join(", ") || "all"}</td>
      <td>{limits.filter(Boolean).join("; ") || "none"}</td>
      <td>{dollars(one.spend)}{one.max_budget !== null && <> of {dollars(one.max_budget)}{one.budget_duration && ` per ${one.budget_duration}`}</>}</td>
      <td><span class={`badge ${one.status === "active" ? "calm" : "bad"}`}>{one.status}</span></td>
      <td class="actions">
        <button type="button" class="link" aria-label={`Edit ${name}`} onClick={edit}>edit</button>
        <button type="button" class="link" aria-label={`Rotate ${name}`} onClick={() => confirm(`Rotate ${name}? Its current token stops working.`) && act("/key/regenerate", { key: one.token })}>rotate</button>
        <button type="button" class="link" aria-label={`${one.blocked ? "Unblock" : "Block"} ${name}`} onClick={() => act(one.blocked ? "/key/unblock" : "/key/block", { key: one.token })}>{one.blocked ? "unblock" : "block"}</button>
        <button type="button" class="link bad" aria-label={`Delete ${name}`} onClick={() => confirm(`Delete ${name}?`) && act("/key/delete", { keys: [one.token] })}>delete</button>
      </td>
    </tr>
  );
}
