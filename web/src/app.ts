// The page's state, and everything that changes it. The view (view/) shows `state` and calls these methods.
import * as api from './api';
import * as conv from './conversation';
import type { Conversation, Message } from './conversation';
import { samplingOf } from './sampling';
import { Archive, loadKey, loadSettings, saveKey, saveSettings, type Settings } from './storage';

/// "locked": the server wants a key, or another one.
export type Connection = 'connecting' | 'ok' | 'away' | 'locked' | { trouble: string };

export interface State {
  connection: Connection;
  wasRefused: boolean; ///< a key was given, and not taken
  model: api.Model | null;
  figures: Map<string, number>; ///< of /metrics
  conversations: Conversation[];
  current: Conversation; ///< kept in `conversations` once there is anything in it
  answering: string | null; ///< the conversation that is being answered
  speed: number | null; ///< tokens/s of the answer that is being made, or was made last
  used: number | null; ///< tokens of the context, by the last answer's usage
  notice: string; ///< something that the user should know, until closed
  news: string; ///< told to screen readers
  settings: Settings;
}

const kPollMilliseconds = 5000;
const kRetryMilliseconds = 1000;
const kSaveMilliseconds = 1000;

export class App {
  state: State;
  private readonly listeners = new Set<() => void>();
  private archive: Archive | null = null;
  private key = loadKey();
  private abort: AbortController | null = null;
  private timer = 0;
  private frame = 0;
  private readonly unsaved = new Map<string, Conversation>();
  private saving = 0;

  constructor() {
    const settings = loadSettings();
    this.state = {
      connection: 'connecting', wasRefused: false, model: null, figures: new Map(), conversations: [],
      current: conv.newConversation('chat', settings.system), answering: null, speed: null, used: null, notice: '',
      news: '', settings,
    };
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /// Shows a change with the next frame: tokens may come faster than the screen can follow.
  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    if (this.frame) return;
    const show = () => {
      this.frame = 0;
      for (const listener of this.listeners) listener();
    };
    // Pages in the background get no frames.
    this.frame = document.hidden ? window.setTimeout(show) : requestAnimationFrame(show);
  }

  async start(): Promise<void> {
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.save();
      else void this.look();
    });
    window.addEventListener('pagehide', () => this.save());
    await Promise.all([this.openArchive(), this.look()]);
  }

  private async openArchive(): Promise<void> {
    try {
      this.archive = await Archive.open();
      const conversations = (await this.archive.all()).map(ended).sort((a, b) => b.updated - a.updated);
      this.set({ conversations });
      const last = conversations.find((one) => one.id === location.hash.slice(1)) ?? null;
      if (last && conv.isEmpty(this.state.current)) this.show(last);
    } catch {
      this.set({ notice: 'This browser keeps no data for this page: conversations last until it is closed.' });
    }
  }

  // ---- the server ----

  /// Looks whether the server is there and ready, now and then again.
  async look(): Promise<void> {
    window.clearTimeout(this.timer);
    const readiness = await api.readiness();
    if (readiness !== 'ok') {
      this.set({ connection: readiness, figures: new Map() });
    } else if (this.state.connection !== 'ok' && this.state.connection !== 'locked') {
      await this.meet();
    } else if (this.state.connection === 'ok') {
      void this.readFigures();
    }
    const isWell = this.state.connection === 'ok' || this.state.connection === 'locked';
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (!document.hidden || this.state.answering) void this.look();
    }, isWell ? kPollMilliseconds : kRetryMilliseconds);
  }

  /// Asks which model it has.
  private async meet(): Promise<void> {
    try {
      const model = await api.model(this.key);
      const isNew = conv.isEmpty(this.state.current) && this.state.model === null;
      this.set({ connection: 'ok', model, wasRefused: false });
      if (isNew && !model.has_chat_template) this.begin('text');
      await this.readFigures();
    } catch (error) {
      const isLocked = error instanceof api.ApiError && error.status === 401;
      this.set({ connection: isLocked ? 'locked' : 'away', wasRefused: isLocked && this.key !== '' });
    }
  }

  async unlock(key: string): Promise<void> {
    this.key = key;
    saveKey(key);
    await this.meet();
  }

  private async readFigures(): Promise<void> {
    try {
      this.set({ figures: await api.metrics(this.key) });
    } catch {
      // The next look tells what is wrong.
    }
  }

  // ---- conversations ----

  show(conversation: Conversation): void {
    this.set({ current: conversation, speed: null, used: null, notice: '' });
    history.replaceState(null, '', conv.isEmpty(conversation) ? location.pathname : `#${conversation.id}`);
  }

  begin(kind: Conversation['kind']): void {
    this.show(conv.newConversation(kind, kind === 'chat' ? this.state.settings.system : ''));
  }

  /// Shows a changed conversation, and keeps it where there is anything in it: at once, or within a second.
  private change(conversation: Conversation, isFinal = true): void {
    const { current, conversations } = this.state;
    const others = conversations.filter((one) => one.id !== conversation.id);
    const isKept = !conv.isEmpty(conversation) || others.length < conversations.length;
    this.set({
      conversations: isKept ? [conversation, ...others].sort((a, b) => b.updated - a.updated) : conversations,
      current: current.id === conversation.id ? conversation : current,
    });
    if (!isKept) return;
    if (current.id === conversation.id) history.replaceState(null, '', `#${conversation.id}`);
    this.unsaved.set(conversation.id, conversation);
    if (isFinal) this.save();
    else this.saving ||= window.setTimeout(() => this.save(), kSaveMilliseconds);
  }

  private save(): void {
    window.clearTimeout(this.saving);
    this.saving = 0;
    for (const conversation of this.unsaved.values()) {
      this.archive?.put(conversation).catch(() => this.set({ notice: 'The browser could not keep this conversation.' }));
    }
    this.unsaved.clear();
  }

  private find(id: string): Conversation {
    return this.state.conversations.find((one) => one.id === id) ?? this.state.current;
  }

  rename(conversation: Conversation, title: string): void {
    this.change({ ...this.find(conversation.id), title: title.trim() });
  }

  remove(conversation: Conversation): void {
    if (this.state.answering === conversation.id) this.stop();
    this.set({ conversations: this.state.conversations.filter((one) => one.id !== conversation.id) });
    this.unsaved.delete(conversation.id);
    void this.archive?.remove(conversation.id);
    if (this.state.current.id === conversation.id) this.begin(conversation.kind);
  }

  setSystem(system: string): void {
    this.setSettings({ system });
    this.change({ ...this.state.current, system });
  }

  setText(text: string): void {
    this.change({ ...this.state.current, text, before: null, updated: Date.now() }, false);
  }

  /// The text before the last continuation.
  undo(): void {
    const { current } = this.state;
    if (current.before !== null) this.change({ ...current, text: current.before, before: null, updated: Date.now() });
  }

  setSettings(change: Partial<Settings>): void {
    const settings = { ...this.state.settings, ...change };
    saveSettings(settings);
    if (change.theme) document.documentElement.dataset.theme = change.theme;
    this.set({ settings });
  }

  /// Takes conversations from a file, and shows the first.
  async importFile(file: File): Promise<void> {
    try {
      const conversations = conv.imported(await file.text());
      for (const conversation of conversations) this.change(conversation);
      if (conversations[0]) this.show(conversations[0]);
      this.tell(`Imported ${conversations.length === 1 ? 'a conversation' : `${conversations.length} conversations`}.`);
    } catch (error) {
      this.set({ notice: `“${file.name}” was not imported. ${messageOf(error)}` });
    }
  }

  exportFile(conversations: Conversation[], name: string): void {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([conv.exported(conversations)], { type: 'application/json' }));
    link.download = name;
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  tell(news: string): void {
    this.set({ news });
  }
  dismiss(): void {
    this.set({ notice: '' });
  }

  // ---- answers ----

  /// Says something in a chat, behind its end or, as another version of what was said, behind `parent`.
  async send(content: string, parent: string | null = this.state.current.head): Promise<boolean> {
    const { current } = this.state;
    const message: Message = { id: conv.newId(), parent, role: 'user', content };
    return this.answer({ ...current, messages: [...current.messages, message], head: message.id });
  }

  /// Answers anew what an answer was given to.
  async regenerate(answer: Message): Promise<boolean> {
    return this.answer({ ...this.state.current, head: answer.parent });
  }

  /// Shows another version of a message, so many places before or after it, with what followed that.
  choose(message: Message, offset: number): void {
    const { current } = this.state;
    const versions = conv.versionsOf(current, message);
    const other = versions[versions.indexOf(message) + offset];
    if (other) this.change({ ...current, head: conv.latestBelow(current, other.id) });
  }

  /// False where nothing was sent, with a notice that says why.
  private async answer(conversation: Conversation): Promise<boolean> {
    const sampling = this.sampling();
    if (!sampling) return false;
    const messages: api.ChatMessage[] = conv.pathTo(conversation, conversation.head);
    const request = messages.map(({ role, content }) => ({ role, content }));
    if (conversation.system.trim()) request.unshift({ role: 'system', content: conversation.system });
    const reply: Message = { id: conv.newId(), parent: conversation.head, role: 'assistant', content: '' };
    this.change({
      ...conversation, messages: [...conversation.messages, reply], head: reply.id, updated: Date.now(),
    });
    const edit = (change: Partial<Message>, isFinal: boolean) => {
      const now = this.find(conversation.id);
      const edited = now.messages.map((message) => (message.id === reply.id ? { ...message, ...change } : message));
      this.change({ ...now, messages: edited, updated: Date.now() }, isFinal);
    };
    const outcome = await this.generate(conversation.id, { messages: request }, sampling,
      (content) => edit({ content }, false));
    edit(outcome, true);
    this.tell(outcome.ending === 'failed' ? outcome.error! : `Answer: ${outcome.content.trim()}`);
    return true;
  }

  /// Continues a text.
  async proceed(): Promise<boolean> {
    const sampling = this.sampling();
    if (!sampling) return false;
    const conversation = this.state.current;
    const { id, text: before } = conversation;
    this.change({ ...conversation, before, updated: Date.now() });
    const edit = (more: string, isFinal: boolean) =>
      this.change({ ...this.find(id), text: before + more, before, updated: Date.now() }, isFinal);
    const outcome = await this.generate(id, { prompt: before }, sampling, (more) => edit(more, false));
    edit(outcome.content, true);
    if (outcome.ending === 'failed') this.set({ notice: outcome.error! });
    this.tell(`Continued: ${outcome.content.trim()}`);
    return true;
  }

  stop(): void {
    this.abort?.abort();
  }

  private sampling(): api.Sampling | null {
    if (this.state.answering) return null;
    try {
      this.set({ notice: '' });
      return samplingOf(this.state.settings.sampling, this.state.model);
    } catch (error) {
      this.set({ notice: messageOf(error) });
      return null;
    }
  }

  private async generate(
    id: string,
    request: { messages: api.ChatMessage[] } | { prompt: string },
    sampling: api.Sampling,
    onText: (text: string) => void,
  ): Promise<Pick<Message, 'content' | 'ending' | 'error' | 'figures'>> {
    this.abort = new AbortController();
    this.set({ answering: id, speed: null, news: 'Answering…' });
    const clock = new Clock();
    let content = '';
    let ending: conv.Ending = 'whole';
    let error: string | undefined;
    let usage: api.Usage | null = null;
    try {
      for await (const event of api.generate(request, sampling, this.key, this.abort.signal)) {
        if (event.kind === 'text') {
          content += event.text;
          clock.tick();
          this.set({ speed: clock.speed(clock.parts) });
          onText(content);
        } else if (event.kind === 'finish') {
          ending = event.reason === 'length' ? 'length' : 'whole';
        } else {
          usage = event.usage;
        }
      }
    } catch (thrown) {
      ending = this.abort.signal.aborted ? 'stopped' : 'failed';
      if (ending === 'failed') {
        error = messageOf(thrown);
        this.failed(thrown);
      }
    }
    this.abort = null;
    const tokens = usage?.completion_tokens ?? clock.parts;
    this.set({ answering: null, speed: clock.speed(tokens), ...(usage ? { used: usage.total_tokens } : {}) });
    void this.readFigures();
    const figures = {
      tokens, isExact: usage !== null, promptTokens: usage?.prompt_tokens ?? 0, tokensPerSecond: clock.speed(tokens) ?? 0,
    };
    return { content, ending, error, figures };
  }

  /// After an answer failed the server may be gone, or another one with another model or key.
  private failed(error: unknown): void {
    if (!(error instanceof api.ApiError)) return;
    if (error.isAway) this.set({ connection: 'away' });
    else if (error.status === 401) this.set({ connection: 'locked', wasRefused: true });
    else if (error.status === 503) this.set({ connection: { trouble: error.message } });
    else if (error.code === 'no_chat_template') this.set({ connection: 'connecting' });
    else return;
    void this.look();
  }
}

/// How fast parts of an answer come; the first one waits for the prompt.
class Clock {
  parts = 0;
  private first = 0;
  private last = 0;

  tick(): void {
    this.last = performance.now();
    if (this.parts++ === 0) this.first = this.last;
  }
  /// Tokens/s, where so many tokens came.
  speed(tokens: number): number | null {
    return tokens > 1 && this.last > this.first ? ((tokens - 1) * 1000) / (this.last - this.first) : null;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/// As it was kept; an answer that was being made when the page was closed has been stopped by that.
function ended(conversation: Conversation): Conversation {
  const isOpen = (message: Message) => message.role === 'assistant' && message.ending === undefined;
  if (!conversation.messages.some(isOpen)) return conversation;
  return {
    ...conversation,
    messages: conversation.messages.map((message) => (isOpen(message) ? { ...message, ending: 'stopped' } : message)),
  };
}
