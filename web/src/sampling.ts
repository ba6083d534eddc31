// The controls of sampling: their limits, as docs/server.md tells them, and what is typed into them.
import type { Model, Sampling } from './api';

export interface Control {
  name: keyof Sampling;
  label: string;
  hint: string;
  low: number;
  high: number;
  isWhole: boolean;
}

/// What may be typed; the limit of max_tokens is the server's.
export function controls(model: Model | null): Control[] {
  return [
    { name: 'temperature', label: 'Temperature', hint: '0 takes the likeliest token each time.', low: 0, high: 2, isWhole: false },
    { name: 'top_p', label: 'Top-p', hint: 'Keeps the likeliest tokens that together reach this probability.', low: 1e-6, high: 1, isWhole: false },
    { name: 'top_k', label: 'Top-k', hint: 'Keeps so many of the likeliest tokens; 0 keeps all.', low: 0, high: 4294967295, isWhole: true },
    { name: 'min_p', label: 'Min-p', hint: 'Drops tokens below this share of the likeliest’s probability.', low: 0, high: 1, isWhole: false },
    { name: 'repetition_penalty', label: 'Repetition penalty', hint: '1 changes nothing.', low: 0.01, high: 100, isWhole: false },
    { name: 'max_tokens', label: 'Max tokens', hint: 'An answer ends there at the latest.', low: 1, high: model?.max_tokens ?? Number.MAX_SAFE_INTEGER, isWhole: true },
    { name: 'seed', label: 'Seed', hint: 'The same one draws the same answer. Empty: a new one each time.', low: 0, high: Number.MAX_SAFE_INTEGER, isWhole: true },
  ];
}

/// What the server takes where a control is empty.
export function defaultOf(name: keyof Sampling, model: Model | null): string {
  if (name === 'seed') return 'random';
  if (name === 'max_tokens') return String(model?.max_tokens ?? '');
  const value = model?.sampling?.[name];
  return value === undefined ? '' : String(Number(value.toPrecision(6)));
}

/// Why what was typed cannot be sent, or nothing.
export function complaint(control: Control, typed: string): string | null {
  if (typed.trim() === '') return null;
  const value = Number(typed);
  const fits = Number.isFinite(value) && value >= control.low && value <= control.high;
  if (fits && (!control.isWhole || Number.isInteger(value))) return null;
  const kind = control.isWhole ? 'a whole number' : 'a number';
  return `${control.label} is “${typed}”: it must be ${kind} from ${control.low} to ${control.high}.`;
}

/// The fields of a request. Throws the first complaint.
export function samplingOf(typed: Record<string, string>, model: Model | null): Sampling {
  const sampling: Sampling = {};
  for (const control of controls(model)) {
    const value = typed[control.name] ?? '';
    const wrong = complaint(control, value);
    if (wrong) throw new Error(wrong);
    if (value.trim() !== '') sampling[control.name] = Number(value);
  }
  return sampling;
}
