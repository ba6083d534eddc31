// Drawings of the page, each in a square of 24.
import type { ButtonHTMLAttributes, JSX } from 'preact';

const kPaths = {
  menu: 'M4 7h16M4 12h16M4 17h16',
  plus: 'M12 5v14M5 12h14',
  settings: 'M4 8h9m5 0h2M4 16h2m5 0h9M15.5 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM8.5 13.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  moon: 'M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z',
  send: 'M12 19V5M6 11l6-6 6 6',
  copy: 'M9 9h10v11H9zM6 15H5V4h10v2',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  edit: 'M4 20l1-4L16 5l3 3L8 19zM14 7l3 3',
  again: 'M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.3M20 4.5v4.8h-4.8',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13',
  close: 'M6 6l12 12M18 6L6 18',
  back: 'M14.5 6l-6 6 6 6',
  forward: 'M9.5 6l6 6-6 6',
  down: 'M12 5v14M6 13l6 6 6-6',
  save: 'M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 20h14',
  open: 'M12 15.5V4.5M7.5 9L12 4.5 16.5 9M5 20h14',
  undo: 'M9 7H5V3M5.5 7A8 8 0 1 1 4 12',
  text: 'M5 6h14M5 10h14M5 14h9M5 18h6',
};

export type IconName = keyof typeof kPaths | 'stop';

/// Says nothing to screen readers: what it stands in has a name.
export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      {name === 'stop' ? <rect class="filled" x="7" y="7" width="10" height="10" rx="2" /> : <path d={kPaths[name]} />}
    </svg>
  );
}

/// The head of a cria, which is what a young llama is called.
export function Mark(): JSX.Element {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M10.5 29V14.5L9.2 5.2c-.2-1.3 1.4-1.9 2.1-.8l2.6 4.1h3.2l2.2-4c.6-1.1 2.3-.7 2.2.6l-.4 5.4c3.6.8 6 2.6 6 4.9 0 2.5-2.3 3.7-5.1 3.7h-2.5V29z" />
      <circle class="eye" cx="18.6" cy="13.6" r="1.3" />
    </svg>
  );
}

interface IconButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'icon'> {
  icon: IconName;
  label: string;
}

/// A button that shows a drawing only; its name is also its tooltip.
export function IconButton({ icon, label, ...rest }: IconButtonProps): JSX.Element {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}
