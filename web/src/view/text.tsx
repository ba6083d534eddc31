// A text that the model continues: the way to use a model without a chat template.
import type { JSX } from 'preact';
import type { App, State } from '../app';
import { StatusLine, StopButton } from './composer';
import { Icon } from './icons';
import { useLayoutEffect, useRef } from 'preact/hooks';

export function TextPage({ app, state }: { app: App; state: State }): JSX.Element {
  const { current } = state;
  const area = useRef<HTMLTextAreaElement>(null);
  const isBusy = state.answering === current.id;
  useLayoutEffect(() => {
    if (isBusy) area.current!.scrollTop = area.current!.scrollHeight;
  }, [current.text]);
  const canSend = current.text !== '' && state.connection === 'ok' && !state.answering;
  const again = () => {
    app.undo();
    void app.proceed();
  };
  return (
    <div class="text-page">
      <label for="text">
        Write how a text begins, and let the model go on.
        {state.model?.has_chat_template === false && ' This model continues texts; it does not chat.'}
      </label>
      <textarea
        id="text"
        ref={area}
        value={current.text}
        readOnly={isBusy}
        aria-busy={isBusy}
        placeholder="Once upon a time"
        onInput={(event) => app.setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          if (canSend) void app.proceed();
        }}
      />
      <div class="row">
        {state.answering ? (
          <StopButton app={app}>Stop</StopButton>
        ) : (
          <button type="button" class="primary" disabled={!canSend} title="Ctrl+Enter" onClick={() => void app.proceed()}>
            <Icon name="forward" />
            Continue
          </button>
        )}
        <button type="button" disabled={current.before === null || !canSend} onClick={again}>
          <Icon name="again" />
          Another way
        </button>
        <button type="button" disabled={current.before === null || !!state.answering} onClick={() => app.undo()}>
          <Icon name="undo" />
          Undo
        </button>
      </div>
      <StatusLine state={state} />
    </div>
  );
}
