import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Calls } from "./calls";
import { clock } from "./format";
import { get, key, type Picture, Refused } from "./gateway";
import { Keys } from "./keys";
import { Overview } from "./overview";
import { Field } from "./parts";
import { Playground } from "./playground";
import { Spend } from "./spend";

const SECTIONS = ["Overview", "Calls", "Spend", "Keys", "Playground"] as const;
type Section = (typeof SECTIONS)[number];

const linkTo = (section: Section): string => `#${section.toLowerCase()}`;
const here = (): Section => SECTIONS.find((section) => linkTo(section) === location.hash) ?? "Overview";

function useSection(): Section {
  const [section, setSection] = useState(here);
  useEffect(() => {
    const moved = () => setSection(here());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return section;
}

/** The gateway's state, fetched every second while the tab is visible. */
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
  const section = useSection();
  const { picture, trouble } = usePicture(shown);
  const locked = trouble instanceof Refused && (trouble.status === 401 || trouble.status === 403);
  const enter = (value: string) => { key.set(value); setShown(value); };
  return (
    <>
      <a class="skip" href="#main">Skip to content</a>
      <header class="top">
        <h1><img src="/ui/icon.svg" alt="" width="22" height="22" /> headrace</h1>
        <nav aria-label="Sections">
          {SECTIONS.map((name) => <a key={name} href={linkTo(name)} aria-current={name === section ? "page" : undefined}>{name}</a>)}
        </nav>
        <span class="grow" />
        {trouble && !locked && <span class="badge bad" role="status">{trouble.message}{picture && `; last update at ${clock(picture.at)}`}</span>}
        {picture && <small>{picture.version}</small>}
        {shown && <button type="button" class="quiet" onClick={() => enter("")}>Sign out</button>}
      </header>
      <main id="main" tabIndex={-1}>
        {locked ? <SignIn told={shown ? trouble.message : ""} enter={enter} /> : picture ? <Shown section={section} picture={picture} /> : <p class="empty">Loading…</p>}
      </main>
    </>
  );
}

function Shown({ section, picture }: { section: Section; picture: Picture }) {
  switch (section) {
    case "Overview": return <Overview picture={picture} />;
    case "Calls": return <Calls calls={picture.calls} />;
    case "Spend": return <Spend />;
    case "Keys": return <Keys />;
    case "Playground": return <Playground models={picture.groups.map((group) => group.name)} />;
  }
}

function SignIn({ told, enter }: { told: string; enter: (value: string) => void }) {
  const [typed, setTyped] = useState("");
  return (
    <form class="card signin" onSubmit={(event) => { event.preventDefault(); enter(typed.trim()); }}>
      <h2>Sign in</h2>
      <Field label="Key" hint="The master key or an administrator's key. It is kept in this tab only, until the tab is closed.">
        <input type="password" autocomplete="off" autofocus value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      </Field>
      {told && <p class="trouble" role="alert">{told}</p>}
      <div class="buttons"><button type="submit">Sign in</button></div>
    </form>
  );
}

render(<App />, document.getElementById("page")!);
