import { useRef, useState } from "preact/hooks";
import { chat } from "./gateway";
import { Field } from "./parts";

interface Said { role: "user" | "assistant"; content: string; told?: string }

const TOLD: [string, string][] = [
  ["x-headrace-deployment", ""], ["x-headrace-queue-wait-ms", "ms queued"], ["x-headrace-attempts", "attempt(s)"],
];

export function Playground({ models }: { models: string[] }) {
  const [model, setModel] = useState(models[0] ?? "");
  const [system, setSystem] = useState("");
  const [text, setText] = useState("");
  const [said, setSaid] = useState<Said[]>([]);
  const [trouble, setTrouble] = useState("");
  const leave = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);

  const send = async () => {
    if (!text.trim() || busy) return;
    const asked: Said[] = [...said, { role: "user", content: text }];
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...asked.map(({ role, content }) => ({ role, content }))];
    setText(""); setTrouble(""); setBusy(true); setSaid([...asked, { role: "assistant", content: "" }]);
    leave.current = new AbortController();
    let content = "", told = "";
    try {
      const note = (found: Headers) => { told = TOLD.flatMap(([name, unit]) => (found.has(name) ? [`${found.get(name)} ${found.get(name) === "1" ? unit.replace("(s)", "") : unit.replace("(s)", "s")}`.trim()] : [])).join(" · "); };
      for await (const piece of chat({ model, messages }, leave.current.signal, note)) {
        content += piece;
        setSaid([...asked, { role: "assistant", content, told }]);
      }
    } catch (error) {
      if ((error as Error).name !== "AbortError") setTrouble((error as Error).message);
    } finally { setBusy(false); }
  };
  const typed = (event: KeyboardEvent) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); void send(); } };

  return (
    <section class="card play">
      <header class="head">
        <h2>Playground</h2>
        <Field label="Model"><select value={model} onChange={(event) => setModel(event.currentTarget.value)}>{models.map((name) => <option key={name}>{name}</option>)}</select></Field>
      </header>
      <Field label="System prompt"><input value={system} onInput={(event) => setSystem(event.currentTarget.value)} placeholder="You answer briefly." /></Field>
      <div class="talk" aria-live="polite">
        {said.map((one, number) => (
          <div key={number} class={one.role}><p>{one.content || "…"}</p>{one.told && <small>{one.told}</small>}</div>
        ))}
      </div>
      {trouble && <p class="trouble" role="alert">{trouble}</p>}
      <form onSubmit={(event) => { event.preventDefault(); void send(); }}>
        <Field label="Message"><textarea rows={3} value={text} onInput={(event) => setText(event.currentTarget.value)} onKeyDown={typed} /></Field>
        <div class="buttons">
          {busy ? <button type="button" onClick={() => leave.current?.abort()}>Stop</button> : <button type="submit" disabled={!model}>Send</button>}
          {said.length > 0 && !busy && <button type="button" class="quiet" onClick={() => { setSaid([]); setTrouble(""); }}>Clear</button>}
        </div>
      </form>
    </section>
  );
}
