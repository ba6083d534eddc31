// Dialogs: the browser's own, which keep the focus inside.
import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { IconButton } from './icons';

interface DialogProps {
  title: string;
  kind?: 'middle' | 'right' | 'left'; ///< in the middle, or a drawer at a side
  onClose?: () => void; ///< without it there is no way out but what the dialog asks for
  children: ComponentChildren;
}

export function Dialog({ title, kind = 'middle', onClose, children }: DialogProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const opened = dialog.current!;
    opened.showModal();
    return () => {
      opened.close();
      (before?.isConnected ? before : document.getElementById('main'))?.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={kind}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClose={() => {
        if (!onClose) dialog.current?.showModal(); // a second Escape closes any dialog
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose?.(); // the backdrop
      }}
    >
      <div class="dialog-body">
        <header>
          <h2>{title}</h2>
          {onClose && <IconButton icon="close" label="Close" onClick={onClose} />}
        </header>
        {children}
      </div>
    </dialog>
  );
}

export function KeyDialog({ wasRefused, onKey }: { wasRefused: boolean; onKey: (key: string) => void }): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  return (
    <Dialog title="This server needs a key">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const key = field.current!.value.trim();
          if (key) onKey(key);
        }}
      >
        <label for="key">API key</label>
        <input
          id="key"
          ref={field}
          type="password"
          autocomplete="off"
          aria-invalid={wasRefused}
          aria-describedby={wasRefused ? 'key-wrong key-hint' : 'key-hint'}
        />
        {wasRefused && <p id="key-wrong" class="wrong" role="alert">The server does not take this key.</p>}
        <p id="key-hint" class="hint">
          Whoever started the server knows it. It stays in this tab until you close it, and goes to this server only.
        </p>
        <div class="row end">
          <button type="submit" class="primary">Unlock</button>
        </div>
      </form>
    </Dialog>
  );
}

interface ConfirmProps {
  title: string;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
  children: ComponentChildren;
}

export function Confirm({ title, action, onConfirm, onClose, children }: ConfirmProps): JSX.Element {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{children}</p>
      <div class="row end">
        <button type="button" onClick={onClose}>Cancel</button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            onClose();
            onConfirm();
          }}
        >
          {action}
        </button>
      </div>
    </Dialog>
  );
}
