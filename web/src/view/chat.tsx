// A conversation: its messages and the box for the next one.
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { App, State } from '../app';
import { countsOf, pathTo, versionsOf, type Message } from '../conversation';
import { markdown } from '../markdown';
import { CopyButton } from './code';
import { Composer, useDraft } from './composer';
import { Icon, IconButton, Mark } from './icons';
import { memo } from './memo';
import { Scroller } from './scroller';

export function Chat({ app, state }: { app: App; state: State }): JSX.Element {
  const { current } = state;
  const path = pathTo(current, current.head);
  const counts = countsOf(current);
  const [draft, setDraft] = useDraft(current.id);
  const canChat = state.model?.has_chat_template !== false;
  return (
    <>
      <Scroller follows={path.at(-1)?.content} key={current.id}>
        {path.length === 0 ? (
          <Welcome state={state} />
        ) : (
          <ol class="thread" aria-label="Messages">
            {path.map((message) => (
              <MessageView
                key={message.id}
                app={app}
                message={message}
                versions={counts.get(message.parent)!}
                place={counts.get(message.parent) === 1 ? 0 : versionsOf(current, message).indexOf(message)}
                isBusy={!!state.answering}
                canAnswer={!state.answering && state.connection === 'ok'}
              />
            ))}
          </ol>
        )}
      </Scroller>
      {canChat ? (
        <Composer
          app={app}
          state={state}
          label="Message"
          placeholder={`Message ${state.model?.id ?? ''}`}
          draft={draft}
          onDraft={setDraft}
          onSend={async () => {
            setDraft('');
            if (!(await app.send(draft))) setDraft(draft);
          }}
        />
      ) : (
        <p class="hint wide">This model has no chat template: it can continue a text, and not answer in a chat.</p>
      )}
    </>
  );
}

function Welcome({ state }: { state: State }): JSX.Element {
  return (
    <div class="welcome">
      <Mark />
      <h2>What shall we talk about?</h2>
      <p>
        {state.model ? (
          <>
            <strong>{state.model.id}</strong> answers here. What you write goes to this server and nowhere else.
          </>
        ) : (
          'What you write goes to this server and nowhere else.'
        )}
      </p>
    </div>
  );
}

interface MessageProps {
  app: App;
  message: Message;
  versions: number;
  place: number; ///< among its versions
  isBusy: boolean; ///< something is being answered
  canAnswer: boolean; ///< nothing is, and the server is there
}

/// Drawn again only when something of it changes: a token that is added to an answer costs that answer alone.
const MessageView = memo(function MessageView(props: MessageProps): JSX.Element {
  const { app, message, isBusy, canAnswer } = props;
  const [isEdited, setEdited] = useState(false);
  const isUser = message.role === 'user';
  const isBeingMade = !isUser && message.ending === undefined;
  return (
    <li class={`message ${message.role}`} aria-busy={isBeingMade}>
      <h2 class="visually-hidden">{isUser ? 'You' : 'Answer'}</h2>
      {isEdited ? (
        <Editor
          text={message.content}
          canSend={canAnswer}
          onCancel={() => setEdited(false)}
          onSend={(text) => {
            setEdited(false);
            void app.send(text, message.parent);
          }}
        />
      ) : (
        <>
          <Content message={message} isBeingMade={isBeingMade} />
          {message.error && (
            <p class="failure" role="alert">
              <span>{message.error}</span>
              <button type="button" disabled={!canAnswer} onClick={() => void app.regenerate(message)}>
                <Icon name="again" />
                Try again
              </button>
            </p>
          )}
          {!isBeingMade && (
            <div class="actions">
              <Versions {...props} />
              <CopyButton text={message.content} label="Copy message" />
              {isUser ? (
                <IconButton icon="edit" label="Edit message" disabled={isBusy} onClick={() => setEdited(true)} />
              ) : (
                <IconButton icon="again" label="Answer anew" disabled={!canAnswer} onClick={() => void app.regenerate(message)} />
              )}
              {!isUser && <FiguresView message={message} />}
            </div>
          )}
        </>
      )}
    </li>
  );
});

function Content({ message, isBeingMade }: { message: Message; isBeingMade: boolean }): JSX.Element {
  const isUser = message.role === 'user';
  const shown = useMemo(() => (isUser ? message.content : markdown(message.content)), [isUser, message.content]);
  if (isUser) return <div class="bubble">{shown}</div>;
  if (isBeingMade && message.content === '') {
    return (
      <div class="waiting" aria-label="Waiting for the answer" role="img">
        <i />
        <i />
        <i />
      </div>
    );
  }
  return <div class="prose">{shown}</div>;
}

function FiguresView({ message }: { message: Message }): JSX.Element {
  const { figures, ending } = message;
  const parts: string[] = [];
  if (figures && figures.tokens > 0) parts.push(`${figures.isExact ? '' : '≈ '}${figures.tokens} tokens`);
  if (figures && figures.tokensPerSecond > 0) parts.push(`${figures.tokensPerSecond.toFixed(1)} tokens/s`);
  if (ending === 'stopped') parts.push('stopped');
  if (ending === 'length') parts.push('cut off: no more tokens allowed');
  return <span class="figures">{parts.join(' · ')}</span>;
}

function Versions({ app, message, versions, place, isBusy }: MessageProps): JSX.Element | null {
  if (versions < 2) return null;
  return (
    <span class="versions" role="group" aria-label="Versions">
      <IconButton icon="back" label="Version before" disabled={isBusy || place === 0} onClick={() => app.choose(message, -1)} />
      <span aria-label={`Version ${place + 1} of ${versions}`} role="img">{place + 1}/{versions}</span>
      <IconButton icon="forward" label="Version after" disabled={isBusy || place === versions - 1} onClick={() => app.choose(message, 1)} />
    </span>
  );
}

interface EditorProps {
  text: string;
  canSend: boolean;
  onCancel: () => void;
  onSend: (text: string) => void;
}

function Editor({ text, canSend, onCancel, onSend }: EditorProps): JSX.Element {
  const [edited, setEdited] = useState(text);
  const send = () => {
    if (canSend && edited.trim()) onSend(edited);
  };
  return (
    <div class="editor">
      <textarea
        aria-label="Edit message"
        value={edited}
        rows={Math.min(12, edited.split('\n').length + 1)}
        ref={(area) => {
          if (area && document.activeElement?.tagName !== 'TEXTAREA') area.focus();
        }}
        onInput={(event) => setEdited(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') onCancel();
          if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <div class="row end">
        <button type="button" onClick={onCancel}>Cancel</button>
        <button type="button" class="primary" disabled={!canSend || !edited.trim()} onClick={send}>Send</button>
      </div>
    </div>
  );
}
