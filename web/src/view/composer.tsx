// The box in which messages are written, with the button that sends or stops, and the line of figures below it.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { App, State } from '../app';
import { Icon } from './icons';

/// What is being written, for each conversation.
const drafts = new Map<string, string>();

export function useDraft(id: string): [string, (text: string) => void] {
  const [, setShown] = useState(0);
  return [
    drafts.get(id) ?? '',
    (text) => {
      drafts.set(id, text);
      setShown((count) => count + 1);
    },
  ];
}

interface ComposerProps {
  app: App;
  state: State;
  label: string;
  placeholder: string;
  draft: string;
  onDraft: (text: string) => void;
  onSend: () => void;
}

export function Composer({ app, state, label, placeholder, draft, onDraft, onSend }: ComposerProps): JSX.Element {
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const box = area.current!;
    box.style.height = 'auto'; // through CSSOM, which the page's policy allows
    box.style.height = `${box.scrollHeight}px`;
  }, [draft]);
  useEffect(() => {
    if (matchMedia('(min-width: 800px)').matches) area.current!.focus();
  }, [state.current.id]);
  const canSend = draft.trim() !== '' && state.connection === 'ok' && !state.answering;
  return (
    <div class="composer">
      <form
        class="box"
        onSubmit={(event) => {
          event.preventDefault();
          if (canSend) onSend();
        }}
      >
        <textarea
          ref={area}
          rows={1}
          id="composer"
          aria-label={label}
          placeholder={placeholder}
          value={draft}
          onInput={(event) => onDraft(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            if (canSend) onSend();
          }}
        />
        {state.answering ? (
          <StopButton app={app} />
        ) : (
          <button type="submit" class="send" aria-label="Send" title="Send (Enter)" disabled={!canSend}>
            <Icon name="send" />
          </button>
        )}
      </form>
      <StatusLine state={state} />
    </div>
  );
}

export function StopButton({ app, children }: { app: App; children?: ComponentChildren }): JSX.Element {
  return (
    <button type="button" class="send" aria-label="Stop" title="Stop (Escape)" onClick={() => app.stop()}>
      <Icon name="stop" />
      {children}
    </button>
  );
}

export function bytes(count: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; ++unit) count /= 1024;
  return `${count.toFixed(unit > 0 && count < 100 ? 1 : 0)} ${units[unit]}`;
}

/// The device's memory that the server uses, in bytes.
export function memoryOf(figures: Map<string, number>): number {
  return ['weight_bytes', 'kv_bytes', 'scratch_bytes'].reduce((sum, name) => sum + (figures.get(name) ?? 0), 0);
}

/// Speed, memory and context.
export function StatusLine({ state }: { state: State }): JSX.Element {
  const { speed, used, model, figures } = state;
  const memory = memoryOf(figures);
  return (
    <p class="status-line">
      {speed !== null && <span>{speed.toFixed(1)} tokens/s</span>}
      {memory > 0 && (
        <span>
          {bytes(memory)}
          <span class="wide-only"> of memory</span>
        </span>
      )}
      {model && (
        <span>
          {used === null ? '' : `${used} of `}
          {model.max_context} tokens<span class="wide-only"> of context</span>
        </span>
      )}
    </p>
  );
}
