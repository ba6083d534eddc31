// The drawer of settings: system prompt, sampling, theme, and what is known of the server.
import type { JSX } from 'preact';
import type { App, State } from '../app';
import { titleOf } from '../conversation';
import { complaint, controls, defaultOf, type Control } from '../sampling';
import type { Settings } from '../storage';
import { bytes } from './composer';
import { Dialog } from './dialog';
import { Icon } from './icons';

export function SettingsDrawer({ app, state, onClose }: { app: App; state: State; onClose: () => void }): JSX.Element {
  const { current, settings } = state;
  const name = titleOf(current).replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40);
  return (
    <Dialog title="Settings" kind="right" onClose={onClose}>
      {current.kind === 'chat' && (
        <section>
          <label for="system">System prompt</label>
          <textarea
            id="system"
            rows={4}
            value={current.system}
            aria-describedby="system-hint"
            onInput={(event) => app.setSystem(event.currentTarget.value)}
          />
          <p id="system-hint" class="hint">Of this chat; new ones begin with it too.</p>
        </section>
      )}
      <section>
        <h3>Sampling</h3>
        <div class="controls">
          {controls(state.model).map((control) => (
            <Field key={control.name} app={app} state={state} control={control} />
          ))}
        </div>
        <div class="row">
          <button type="button" onClick={() => app.setSettings({ sampling: {} })}>
            <Icon name="undo" />
            The server’s own
          </button>
        </div>
      </section>
      <section>
        <fieldset class="themes">
          <legend>Theme</legend>
          {(['system', 'light', 'dark'] as Settings['theme'][]).map((theme) => (
            <label key={theme}>
              <input type="radio" name="theme" checked={settings.theme === theme} onChange={() => app.setSettings({ theme })} />
              <span>{theme === 'system' ? 'As the system' : theme === 'light' ? 'Light' : 'Dark'}</span>
            </label>
          ))}
        </fieldset>
      </section>
      <section>
        <h3>This conversation</h3>
        <div class="row">
          <button
            type="button"
            disabled={!state.conversations.includes(current)}
            onClick={() => app.exportFile([current], `cria-${name}.json`)}
          >
            <Icon name="save" />
            Export
          </button>
        </div>
      </section>
      <ServerSection state={state} />
    </Dialog>
  );
}

function Field({ app, state, control }: { app: App; state: State; control: Control }): JSX.Element {
  const typed = state.settings.sampling[control.name] ?? '';
  const wrong = complaint(control, typed);
  const id = `sampling-${control.name}`;
  return (
    <div class="field">
      <label for={id}>{control.label}</label>
      <input
        id={id}
        inputMode={control.isWhole ? 'numeric' : 'decimal'}
        autocomplete="off"
        value={typed}
        placeholder={defaultOf(control.name, state.model)}
        aria-invalid={wrong !== null}
        aria-describedby={`${id}-hint`}
        onInput={(event) =>
          app.setSettings({ sampling: { ...state.settings.sampling, [control.name]: event.currentTarget.value } })
        }
      />
      <p id={`${id}-hint`} class={wrong ? 'wrong' : 'hint'}>{wrong ?? control.hint}</p>
    </div>
  );
}

function ServerSection({ state }: { state: State }): JSX.Element | null {
  const { model, figures } = state;
  if (!model) return null;
  const figure = (name: string) => figures.get(name) ?? 0;
  const rows: [string, string][] = [
    ['Model', model.id],
    ['Context', `${model.max_context} tokens`],
    ['Texts at once', `${figure('slots_busy')} of ${figure('slots')}, ${figure('queue_length')} waiting`],
    ['Weights', bytes(figure('weight_bytes'))],
    ['KV cache', `${bytes(figure('kv_bytes'))}, ${figure('kv_pages_used')} of ${figure('kv_pages')} pages used`],
    ['Scratch memory', bytes(figure('scratch_bytes'))],
    ['Tokens generated', String(figure('generated_tokens_total'))],
  ];
  return (
    <section>
      <h3>Server</h3>
      <dl>
        {rows.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <p class="hint">
        <a href="web/licenses.txt" target="_blank">Licences of what this page is made of</a>
      </p>
    </section>
  );
}
