// Views that are drawn again only when one of their properties is another.
import { Component, h, type FunctionComponent, type JSX } from 'preact';

export function memo<Props extends object>(View: (props: Props) => JSX.Element): new () => Component<Props> {
  return class extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const before = this.props as Props;
      return (Object.keys(next) as (keyof Props)[]).some((name) => next[name] !== before[name]);
    }
    override render(): JSX.Element {
      return h(View as FunctionComponent<Props>, this.props as Props);
    }
  };
}
