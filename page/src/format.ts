export const count = (value: number): string => Math.round(value).toLocaleString("en");

export function seconds(value: number | null): string {
  if (value === null) return "–";
  if (value < 0.0005) return "0 ms";
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.1 ? 1 : 0)} ms`;
  return value < 120 ? `${value.toFixed(value < 10 ? 2 : 1)} s` : `${(value / 60).toFixed(1)} min`;
}

export function dollars(value: number | null): string {
  if (value === null) return "–";
  return value === 0 ? "$0" : `$${value.toFixed(value < 0.01 ? 6 : value < 10 ? 4 : 2)}`;
}

export const nano = (value: number | null): string => dollars(value === null ? null : value / 1e9);

export const clock = (at: number): string => new Date(at * 1e3).toLocaleTimeString("en-GB");

export const percent = (share: number): string => `${Math.round(share * 100)} %`;
