import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Calls } from "./calls";
import { Channel } from "./channel";
import { clock } from "./format";
import { get, key, type Picture, Refused } from "./gateway";
import { Keys } from "./keys";
import { Field } from "./parts";
import { Playground } from "./playground";
import { Spend } from "./spend";

const ROOMS = ["channel", "calls", "spend", "keys", "playground"] as const;
type Room = (typeof ROOMS)[number];

const here = (): Room => ROOMS.find((room) => `#${room}` === location.hash) ?? "channel";

function useRoom(): Room {
  const [room, setRoom] = useState(here);
  useEffect(() => {
    const moved = () => setRoom(here());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return room;
}

/** The picture, looked at every second while somebody sees it. */
function usePicture(shown: string) {
  const [picture, setPicture] = useState<Picture>();
  const [trouble, setTrouble] = useState<Error>();
  useEffect(() => {
    let over = false;
    let next: ReturnType<typeof setTimeout>;
    const look = async () => {
      try {
        if (!document.hidden) {
          const found = await get<Picture>("/ui/state");
          if (!over) { setPicture(found); setTrouble(undefined); }
        }
      } catch (error) { if (!over) setTrouble(error as Error); }
      if (!over) next = setTimeout(look, 1000);
    };
    void look();
    return () => { over = true; clearTimeout(next); };
  }, [shown]);
  return { picture, trouble };
}

function App() {
  const [shown, setShown] = useState(key.get());
  const room = useRoom();
  const { picture, trouble } = usePicture(shown);
  const locked = trouble instanceof Refused && (trouble.status === 401 || trouble.status === 403);
  const enter = (value: string) => { key.set(value); setShown(value); };
  return (
    <>
      <a class="skip" href="#main">To the content</a>
      <header class="top">
        <h1><img src="/ui/icon.svg" alt="" width="22" height="22" /> headrace</h1>
        <nav aria-label="Rooms">
          {ROOMS.map((name) => <a key={name} href={`#${name}`} aria-current={name === room ? "page" : undefined}>{name}</a>)}
        </nav>
        <span class="grow" />
        {trouble && !locked && <span class="badge bad" role="status">{trouble.message}{picture && `; this was at ${clock(picture.at)}`}</span>}
        {picture && <small>{picture.version}</small>}
        {shown && <button type="button" class="quiet" onClick={() => enter("")}>Forget the key</button>}
      </header>
      <main id="main" tabIndex={-1}>
        {locked ? <Door told={shown ? trouble.message : ""} enter={enter} /> : picture ? <Rooms room={room} picture={picture} /> : <p class="empty">Looking…</p>}
      </main>
    </>
  );
}

function Rooms({ room, picture }: { room: Room; picture: Picture }) {
  switch (room) {
    case "channel": return <Channel picture={picture} />;
    case "calls": return <Calls calls={picture.calls} />;
    case "spend": return <Spend />;
    case "keys": return <Keys />;
    case "playground": return <Playground models={picture.groups.map((group) => group.name)} />;
  }
}

function Door({ told, enter }: { told: string; enter: (value: string) => void }) {
  const [typed, setTyped] = useState("");
  return (
    <form class="card door" onSubmit={(event) => { event.preventDefault(); enter(typed.trim()); }}>
      <h2>The master key, or an administrator's</h2>
      <Field label="Key" hint="It stays in this tab and is forgotten with it.">
        <input type="password" autocomplete="off" autofocus value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      </Field>
      {told && <p class="trouble" role="alert">{told}</p>}
      <div class="buttons"><button type="submit">Open</button></div>
    </form>
  );
}

render(<App />, document.getElementById("page")!);
