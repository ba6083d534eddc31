// The list of conversations, beside the page or, where that is narrow, in a drawer.
import type { JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { App, State } from '../app';
import { titleOf, type Conversation } from '../conversation';
import { Confirm } from './dialog';
import { Icon, IconButton, Mark } from './icons';

interface SidebarProps {
  app: App;
  state: State;
  onDone?: () => void; ///< something was chosen
}

export function Sidebar({ app, state, onDone }: SidebarProps): JSX.Element {
  const file = useRef<HTMLInputElement>(null);
  const begin = (kind: Conversation['kind']) => {
    app.begin(kind);
    onDone?.();
  };
  return (
    <div class="sidebar">
      <div class="brand">
        <Mark />
        <span>Cria</span>
      </div>
      <div class="begin">
        {state.model?.has_chat_template !== false && (
          <button type="button" onClick={() => begin('chat')}>
            <Icon name="plus" />
            New chat
          </button>
        )}
        <button type="button" onClick={() => begin('text')}>
          <Icon name="text" />
          New text
        </button>
      </div>
      <nav aria-label="Conversations">
        {state.conversations.length === 0 && <p class="hint">Conversations are kept in this browser only.</p>}
        <ul>
          {state.conversations.map((one) => (
            <Entry key={one.id} app={app} conversation={one} isCurrent={one.id === state.current.id} onDone={onDone} />
          ))}
        </ul>
      </nav>
      <div class="files">
        <input
          ref={file}
          type="file"
          accept=".json,application/json"
          aria-label="File to import"
          hidden
          onChange={() => {
            const chosen = file.current!.files?.[0];
            file.current!.value = '';
            onDone?.();
            if (chosen) void app.importFile(chosen);
          }}
        />
        <button type="button" class="quiet" onClick={() => file.current!.click()}>
          <Icon name="open" />
          Import
        </button>
        <button
          type="button"
          class="quiet"
          disabled={state.conversations.length === 0}
          onClick={() => app.exportFile(state.conversations, 'cria-conversations.json')}
        >
          <Icon name="save" />
          Export all
        </button>
      </div>
    </div>
  );
}

interface EntryProps {
  app: App;
  conversation: Conversation;
  isCurrent: boolean;
  onDone: (() => void) | undefined;
}

function Entry({ app, conversation, isCurrent, onDone }: EntryProps): JSX.Element {
  const [isNaming, setNaming] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const title = titleOf(conversation);
  const rename = (name: string) => {
    setNaming(false);
    if (name.trim() && name !== title) app.rename(conversation, name);
  };
  if (isNaming) return <NameField title={title} onDone={rename} />;
  return (
    <li class={isCurrent ? 'current' : ''}>
      <button
        type="button"
        class="entry"
        aria-current={isCurrent ? 'page' : undefined}
        onClick={() => {
          app.show(conversation);
          onDone?.();
        }}
      >
        {conversation.kind === 'text' && <Icon name="text" />}
        <span>{title}</span>
      </button>
      <IconButton icon="edit" label={`Rename “${title}”`} onClick={() => setNaming(true)} />
      <IconButton icon="trash" label={`Delete “${title}”`} onClick={() => setAsking(true)} />
      {isAsking && (
        <Confirm
          title="Delete this conversation?"
          action="Delete"
          onConfirm={() => app.remove(conversation)}
          onClose={() => setAsking(false)}
        >
          “{title}” is kept nowhere else than in this browser.
        </Confirm>
      )}
    </li>
  );
}

function NameField({ title, onDone }: { title: string; onDone: (name: string) => void }): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    field.current!.focus();
    field.current!.select();
  }, []);
  return (
    <li>
      <input
        ref={field}
        aria-label="Name of the conversation"
        defaultValue={title}
        onBlur={(event) => onDone(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter') onDone(event.currentTarget.value);
          if (event.key !== 'Escape') return;
          event.preventDefault(); // a dialog around it would close
          onDone(title);
        }}
      />
    </li>
  );
}
