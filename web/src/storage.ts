// What the browser keeps: conversations in IndexedDB, settings in localStorage, the key for this tab's session only.
import type { Conversation } from './conversation';

export interface Settings {
  theme: 'system' | 'light' | 'dark';
  system: string; ///< what new chats begin with
  sampling: Record<string, string>; ///< as typed; empty fields are the server's
}

const kStore = 'conversations';
const kSettings = 'cria-settings'; // theme.ts reads it too
const kKey = 'cria-key';

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/// The conversations of this browser.
export class Archive {
  private constructor(private readonly database: IDBDatabase) {}

  /// Errors: a browser that keeps nothing, in a private window for instance.
  static async open(): Promise<Archive> {
    const request = indexedDB.open('cria', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(kStore, { keyPath: 'id' });
    return new Archive(await done(request));
  }

  private store(mode: IDBTransactionMode): IDBObjectStore {
    return this.database.transaction(kStore, mode).objectStore(kStore);
  }

  all(): Promise<Conversation[]> {
    return done(this.store('readonly').getAll());
  }
  async put(conversation: Conversation): Promise<void> {
    await done(this.store('readwrite').put(conversation));
  }
  async remove(id: string): Promise<void> {
    await done(this.store('readwrite').delete(id));
  }
}

export function loadSettings(): Settings {
  const settings: Settings = { theme: 'system', system: '', sampling: {} };
  try {
    return { ...settings, ...JSON.parse(localStorage.getItem(kSettings) ?? '{}') };
  } catch {
    return settings;
  }
}

export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(kSettings, JSON.stringify(settings));
  } catch {
    // Without storage they last as long as the page.
  }
}

export function loadKey(): string {
  try {
    return sessionStorage.getItem(kKey) ?? '';
  } catch {
    return '';
  }
}

export function saveKey(key: string): void {
  try {
    sessionStorage.setItem(kKey, key);
  } catch {
    // As above.
  }
}
