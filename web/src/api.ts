// What the page asks of the server. All addresses are relative to the page's own.

/// One of the server's refusals, or what the browser says of a connection that failed.
export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly code = '') {
    super(message);
  }
  /// No answer came at all.
  get isAway(): boolean {
    return this.status === 0;
  }
}

/// From /v1/models.
export interface Model {
  id: string;
  max_context: number;
  max_tokens: number;
  has_chat_template: boolean;
  sampling: { temperature: number; top_p: number; top_k: number; min_p: number; repetition_penalty: number };
}

/// From /ready.
export type Readiness = 'ok' | 'away' | { trouble: string };

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

/// Fields of a request that are left out where the server's own values are wanted.
export type Sampling = Partial<
  Record<'temperature' | 'top_p' | 'top_k' | 'min_p' | 'repetition_penalty' | 'max_tokens' | 'seed', number>
>;

export type StreamEvent =
  | { kind: 'text'; text: string }
  | { kind: 'finish'; reason: string }
  | { kind: 'usage'; usage: Usage };

const kProbeMilliseconds = 5000;

function headers(key: string): HeadersInit {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/// The response, where its status is 200.
async function ask(path: string, options: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...options, cache: 'no-store' });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError('The server cannot be reached.', 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const told = body?.error?.message;
  throw new ApiError(
    typeof told === 'string' ? sentence(told) : `The server answered with status ${response.status}.`,
    response.status,
    String(body?.error?.code ?? ''),
  );
}

function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

export async function readiness(): Promise<Readiness> {
  try {
    const response = await fetch('ready', { cache: 'no-store', signal: AbortSignal.timeout(kProbeMilliseconds) });
    if (response.ok) return 'ok';
    const body = await response.json().catch(() => null);
    return { trouble: typeof body?.status === 'string' ? body.status : `status ${response.status}` };
  } catch {
    return 'away';
  }
}

export async function model(key: string): Promise<Model> {
  const signal = AbortSignal.timeout(kProbeMilliseconds);
  const list = await (await ask('v1/models', { headers: headers(key), signal })).json();
  return list.data[0];
}

/// The figures of /metrics by their names, without "cria_".
export async function metrics(key: string): Promise<Map<string, number>> {
  const text = await (await ask('metrics', { headers: headers(key) })).text();
  const figures = new Map<string, number>();
  for (const [, name, value] of text.matchAll(/^cria_(\w+) (\d+)$/gm)) figures.set(name!, Number(value));
  return figures;
}

/// Sends a chat (`messages`) or a text to continue (`prompt`), and gives what comes of it as it comes.
export async function* generate(
  request: { messages: ChatMessage[] } | { prompt: string },
  sampling: Sampling,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<StreamEvent> {
  const response = await ask('messages' in request ? 'v1/chat/completions' : 'v1/completions', {
    method: 'POST',
    headers: { ...headers(key), 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...request, ...sampling, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of dataOf(response.body!)) {
    if (data === '[DONE]') return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(sentence(event.error.message), 503, String(event.error.code ?? ''));
    const choice = event.choices[0];
    const text = choice?.delta?.content ?? choice?.text ?? '';
    if (text) yield { kind: 'text', text };
    if (choice?.finish_reason) yield { kind: 'finish', reason: choice.finish_reason };
    if (event.usage) yield { kind: 'usage', usage: event.usage };
  }
  throw new ApiError('The server went away before the answer was complete.', 0);
}

/// The data of a stream's events.
async function* dataOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).split('\n\n');
      rest = events.pop()!;
      for (const event of events) if (event.startsWith('data: ')) yield event.slice('data: '.length);
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError('The server went away before the answer was complete.', 0);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
