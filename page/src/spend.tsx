import { useEffect, useState } from "preact/hooks";
import { dollars } from "./format";
import { get } from "./gateway";
import { Trouble } from "./parts";

interface Sums { days: { date: string; spend: number }[]; models: Named[]; keys: Named[]; total: number }
interface Named { name: string; spend: number }

async function load(): Promise<Sums> {
  const [days, models, keys, all] = await Promise.all([
    get<{ date: string; spend: number }[]>("/global/spend/logs"),
    get<{ model: string; total_spend: number }[]>("/global/spend/models"),
    get<{ api_key: string; key_alias: string | null; total_spend: number }[]>("/global/spend/keys"),
    get<{ spend: number | null }>("/global/spend"),
  ]);
  return {
    days, total: all.spend ?? 0,
    models: models.filter((one) => one.model).map((one) => ({ name: one.model, spend: one.total_spend })),
    keys: keys.map((one) => ({ name: one.key_alias ?? (one.api_key.slice(0, 12) || "master key"), spend: one.total_spend })),
  };
}

export function Spend() {
  const [sums, setSums] = useState<Sums>();
  const [trouble, setTrouble] = useState<Error>();
  useEffect(() => {
    const look = () => load().then((found) => { setSums(found); setTrouble(undefined); }, setTrouble);
    void look();
    const again = setInterval(look, 15_000);
    return () => clearInterval(again);
  }, []);
  if (trouble) return <Trouble error={trouble} what="Spend totals" />;
  if (!sums) return <p class="empty">Loading…</p>;
  return (
    <>
      <section class="card"><header class="head"><h2>By day</h2><small>last 30 days; {dollars(sums.total)} in total</small></header>
        <Bars rows={sums.days.map((day) => ({ name: day.date, spend: day.spend }))} /></section>
      <div class="pair">
        <section class="card"><header class="head"><h2>By model</h2></header><Bars rows={sums.models} /></section>
        <section class="card"><header class="head"><h2>By key</h2></header><Bars rows={sums.keys} /></section>
      </div>
    </>
  );
}

function Bars({ rows }: { rows: Named[] }) {
  const most = Math.max(...rows.map((row) => row.spend), 1e-9);
  if (!rows.length) return <p class="empty">No spend yet.</p>;
  return (
    <table class="bars">
      <thead class="unseen"><tr><th>Name</th><th>Share</th><th>Dollars</th></tr></thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.name}>
            <th scope="row"><span class="short" title={row.name}>{row.name}</span></th>
            <td class="wide"><span class="bar"><span style={{ width: `${(row.spend / most) * 100}%` }} /></span></td>
            <td class="n">{dollars(row.spend)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
