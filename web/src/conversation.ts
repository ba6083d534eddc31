// Conversations: trees of messages, so that editing or answering anew loses nothing, and texts that are continued.

export type Ending = 'whole' | 'length' | 'stopped' | 'failed';

/// What is known of an answer's making.
export interface Figures {
  tokens: number;
  isExact: boolean; ///< false where the answer was stopped: then the server does not tell its tokens
  promptTokens: number;
  tokensPerSecond: number; ///< after the first token
}

export interface Message {
  id: string;
  parent: string | null;
  role: 'user' | 'assistant';
  content: string;
  ending?: Ending; ///< of an answer; missing while it is being made
  error?: string; ///< why it failed
  figures?: Figures;
}

export interface Conversation {
  id: string;
  kind: 'chat' | 'text';
  title: string;
  created: number; ///< milliseconds since 1970, like all times here
  updated: number;
  system: string; ///< of a chat
  messages: Message[]; ///< of a chat; parents come before children
  head: string | null; ///< the last message of the branch that is shown
  text: string; ///< of a text
  before: string | null; ///< the text before the last continuation
}

export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function newConversation(kind: Conversation['kind'], system: string): Conversation {
  const now = Date.now();
  return {
    id: newId(), kind, title: '', created: now, updated: now, system, messages: [], head: null, text: '', before: null,
  };
}

export function isEmpty(conversation: Conversation): boolean {
  return conversation.messages.length === 0 && conversation.text === '';
}

/// The messages from the first to `end`.
export function pathTo(conversation: Conversation, end: string | null): Message[] {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  for (let message = byId.get(end ?? ''); message; message = byId.get(message.parent ?? '')) path.push(message);
  return path.reverse();
}

/// The versions of a message, itself among them, oldest first: messages that follow the same one.
export function versionsOf(conversation: Conversation, message: Message): Message[] {
  return conversation.messages.filter((other) => other.parent === message.parent);
}

/// How many messages follow each one; those that begin the conversation are counted at null.
export function countsOf(conversation: Conversation): Map<string | null, number> {
  const counts = new Map<string | null, number>();
  for (const { parent } of conversation.messages) counts.set(parent, (counts.get(parent) ?? 0) + 1);
  return counts;
}

/// The end of the branch that leads through a message, by the newest reply each time.
export function latestBelow(conversation: Conversation, id: string): string {
  let end = id;
  for (const message of conversation.messages) if (message.parent === end) end = newestReply(conversation, end);
  return end;
}

function newestReply(conversation: Conversation, id: string): string {
  return conversation.messages.findLast((message) => message.parent === id)?.id ?? id;
}

export function titleOf(conversation: Conversation): string {
  if (conversation.title) return conversation.title;
  const words = conversation.messages[0]?.content ?? conversation.text;
  const line = words.trim().split('\n', 1)[0]!;
  if (line) return line.length > 60 ? `${line.slice(0, 57)}…` : line;
  return conversation.kind === 'chat' ? 'New chat' : 'New text';
}

// ---- files ----

export function exported(conversations: Conversation[]): string {
  return `${JSON.stringify({ cria_conversations: 1, conversations }, null, 1)}\n`;
}

/// The conversations of a file that `exported` made, or that `/save` of `cria chat` wrote. Throws with a sentence that
/// says what is wrong with any other. Ids are made anew, so that nothing there is overwritten.
export function imported(text: string): Conversation[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error('The file is not JSON.');
  }
  const file = fieldsOf(json, 'The file');
  if (file.cria_chat === 1) return [ofTerminal(file)];
  if (file.cria_conversations !== 1 || !Array.isArray(file.conversations)) {
    throw new Error('The file holds no conversations of Cria: it has neither "cria_conversations": 1 nor "cria_chat": 1.');
  }
  return file.conversations.map((entry, index) => conversationOf(entry, `Conversation ${index + 1}`));
}

type Fields = Record<string, unknown>;

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is not an object.`);
  return value as Fields;
}

function stringOf(fields: Fields, key: string, what: string, otherwise?: string): string {
  const value = fields[key] ?? otherwise;
  if (typeof value !== 'string') throw new Error(`${what} has no "${key}" that is a string.`);
  return value;
}

function timeOf(fields: Fields, key: string): number {
  const value = fields[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : Date.now();
}

function oneOf<T extends string>(value: unknown, allowed: readonly T[], what: string): T {
  if (!allowed.includes(value as T)) throw new Error(`${what} is ${JSON.stringify(value)}: it must be ${allowed.join(' or ')}.`);
  return value as T;
}

function conversationOf(value: unknown, what: string): Conversation {
  const fields = fieldsOf(value, what);
  const conversation = newConversation(oneOf(fields.kind, ['chat', 'text'] as const, `"kind" of ${what}`), '');
  conversation.title = stringOf(fields, 'title', what, '');
  conversation.system = stringOf(fields, 'system', what, '');
  conversation.text = stringOf(fields, 'text', what, '');
  conversation.created = timeOf(fields, 'created');
  conversation.updated = timeOf(fields, 'updated');
  const messages = fields.messages ?? [];
  if (!Array.isArray(messages)) throw new Error(`"messages" of ${what} is not a list.`);
  const ids = new Map<string, string>();
  for (const [index, entry] of messages.entries()) {
    conversation.messages.push(messageOf(entry, `Message ${index + 1} of ${what}`, ids));
  }
  const head = typeof fields.head === 'string' ? ids.get(fields.head) : undefined;
  conversation.head = head ?? conversation.messages.at(-1)?.id ?? null;
  return conversation;
}

/// `ids` leads from the file's ids to the new ones, of the messages before this one.
function messageOf(value: unknown, what: string, ids: Map<string, string>): Message {
  const fields = fieldsOf(value, what);
  const old = stringOf(fields, 'id', what);
  const id = newId();
  const parent = fields.parent ?? null;
  if (parent !== null && !ids.has(String(parent))) throw new Error(`${what} follows a message that does not come before it.`);
  if (ids.has(old)) throw new Error(`${what} has the id of another.`);
  ids.set(old, id);
  const role = oneOf(fields.role, ['user', 'assistant'] as const, `"role" of ${what}`);
  const message: Message = {
    id, parent: parent === null ? null : ids.get(String(parent))!, role, content: stringOf(fields, 'content', what),
  };
  if (role === 'assistant') {
    const ending = fields.ending ?? 'stopped';
    message.ending = oneOf(ending, ['whole', 'length', 'stopped', 'failed'] as const, `"ending" of ${what}`);
    if (message.ending === 'failed') message.error = stringOf(fields, 'error', what, 'It failed.');
    const figures = fields.figures === undefined ? undefined : fieldsOf(fields.figures, `"figures" of ${what}`);
    if (figures) {
      message.figures = {
        tokens: Number(figures.tokens) || 0, isExact: figures.isExact === true,
        promptTokens: Number(figures.promptTokens) || 0, tokensPerSecond: Number(figures.tokensPerSecond) || 0,
      };
    }
  }
  return message;
}

/// What `/save` of `cria chat` wrote: a list of roles and contents.
function ofTerminal(file: Fields): Conversation {
  if (!Array.isArray(file.messages)) throw new Error('The file has no "messages" that are a list.');
  const conversation = newConversation('chat', '');
  for (const [index, entry] of file.messages.entries()) {
    const what = `Message ${index + 1}`;
    const fields = fieldsOf(entry, what);
    const role = oneOf(fields.role, ['system', 'user', 'assistant'] as const, `"role" of ${what}`);
    const content = stringOf(fields, 'content', what);
    if (role === 'system') {
      conversation.system = content;
      continue;
    }
    const message: Message = { id: newId(), parent: conversation.head, role, content };
    if (role === 'assistant') message.ending = 'whole';
    conversation.messages.push(message);
    conversation.head = message.id;
  }
  return conversation;
}
