// Code, and buttons that copy.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { IconButton } from './icons';

/// Puts a text on the clipboard. Pages that came without TLS from another machine have no `navigator.clipboard`.
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'visually-hidden';
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function CopyButton({ text, label }: { text: string; label: string }): JSX.Element {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    const timer = isDone ? window.setTimeout(() => setDone(false), 1500) : 0;
    return () => window.clearTimeout(timer);
  }, [isDone]);
  const onClick = () => copy(text).then(() => setDone(true), () => undefined);
  return <IconButton icon={isDone ? 'check' : 'copy'} label={isDone ? 'Copied' : label} onClick={onClick} />;
}

export function CodeBlock({ language, text }: { language: string; text: string }): JSX.Element {
  return (
    <div class="code">
      <div class="code-head">
        <span>{language || 'text'}</span>
        <CopyButton text={text} label="Copy code" />
      </div>
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </div>
  );
}
