// The whole page.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { App, Connection, State } from '../app';
import { titleOf } from '../conversation';
import { Chat } from './chat';
import { Dialog, KeyDialog } from './dialog';
import { IconButton } from './icons';
import { SettingsDrawer } from './settings';
import { Sidebar } from './sidebar';
import { TextPage } from './text';

function useAppState(app: App): State {
  const [state, setState] = useState(app.state);
  useEffect(() => app.subscribe(() => setState(app.state)), [app]);
  return state;
}

export function Page({ app }: { app: App }): JSX.Element {
  const state = useAppState(app);
  const [drawer, setDrawer] = useState<'none' | 'conversations' | 'settings'>('none');
  const close = () => setDrawer('none');
  const title = titleOf(state.current);
  useEffect(() => {
    document.title = `${title} – Cria`;
  }, [title]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !event.defaultPrevented && !document.querySelector('dialog[open]')) app.stop();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [app]);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>Skip to the conversation</a>
      <aside class="side" aria-label="Sidebar">
        <Sidebar app={app} state={state} />
      </aside>
      <main id="main" tabIndex={-1}>
        <header class="top">
          <span class="narrow-only">
            <IconButton icon="menu" label="Conversations" onClick={() => setDrawer('conversations')} />
          </span>
          <h1>{title}</h1>
          <Badge connection={state.connection} model={state.model?.id} />
          <ThemeButton app={app} state={state} />
          <IconButton icon="settings" label="Settings" onClick={() => setDrawer('settings')} />
        </header>
        <Trouble connection={state.connection} />
        {state.notice && (
          <div class="notice" role="alert">
            <p>{state.notice}</p>
            <IconButton icon="close" label="Close" onClick={() => app.dismiss()} />
          </div>
        )}
        {state.current.kind === 'chat' ? <Chat app={app} state={state} /> : <TextPage app={app} state={state} />}
      </main>
      <div class="visually-hidden" role="status">{state.news}</div>
      {drawer === 'conversations' && (
        <Dialog title="Conversations" kind="left" onClose={close}>
          <Sidebar app={app} state={state} onDone={close} />
        </Dialog>
      )}
      {drawer === 'settings' && <SettingsDrawer app={app} state={state} onClose={close} />}
      {state.connection === 'locked' && <KeyDialog wasRefused={state.wasRefused} onKey={(key) => void app.unlock(key)} />}
    </>
  );
}

/// The address stays the conversation's.
function skip(event: Event): void {
  event.preventDefault();
  (document.querySelector<HTMLElement>('#composer, #text') ?? document.querySelector<HTMLElement>('#main'))?.focus();
}

function Badge({ connection, model }: { connection: Connection; model: string | undefined }): JSX.Element {
  const kind = typeof connection === 'string' ? connection : 'trouble';
  const words = { ok: 'Connected', connecting: 'Connecting', away: 'Server away', locked: 'Locked', trouble: 'Not ready' }[kind];
  return (
    <span class={`badge ${kind}`} title={words}>
      <span class="visually-hidden">{words}: </span>
      <span class="badge-name">{model ?? words}</span>
    </span>
  );
}

function Trouble({ connection }: { connection: Connection }): JSX.Element | null {
  if (connection === 'away') {
    return <p class="trouble" role="alert">The server is away. This page tries again every second, and goes on when it is back.</p>;
  }
  if (typeof connection === 'string') return null;
  return <p class="trouble" role="alert">The server is not ready ({connection.trouble}). This page goes on when it is.</p>;
}

function ThemeButton({ app, state }: { app: App; state: State }): JSX.Element {
  const query = matchMedia('(prefers-color-scheme: dark)');
  const [isSystemDark, setSystemDark] = useState(query.matches);
  useEffect(() => {
    const onChange = () => setSystemDark(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, []);
  const { theme } = state.settings;
  const isDark = theme === 'system' ? isSystemDark : theme === 'dark';
  return (
    <IconButton
      icon={isDark ? 'sun' : 'moon'}
      label={isDark ? 'Light theme' : 'Dark theme'}
      onClick={() => app.setSettings({ theme: isDark ? 'light' : 'dark' })}
    />
  );
}
