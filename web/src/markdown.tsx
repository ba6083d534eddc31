// Markdown as elements of the page. Nothing here makes HTML from text: marked only cuts the text into tokens, and each
// becomes an element of a kind that is named below. HTML in the text is shown as it was written.
import { Lexer, type MarkedToken, type Token, type Tokens } from 'marked';
import type { ComponentChildren, JSX } from 'preact';
import { CodeBlock } from './view/code';

/// What is nested deeper is shown as it was written.
const kDeepest = 16;
/// The page's own headings end with the second level: those of a text begin below, and no level is left out.
const kFirstLevel = 3;

export function markdown(text: string): ComponentChildren {
  let tokens: Token[];
  try {
    tokens = Lexer.lex(text, { gfm: true, breaks: true });
  } catch {
    return <p>{text}</p>; // nested too deeply for marked
  }
  const above: number[] = []; // depths of the headings that this part of the text stands below
  return tokens.map((token) => (token.type === 'heading' ? heading(token as Tokens.Heading, above) : block(token, 0)));
}

function heading({ depth, tokens }: Tokens.Heading, above: number[]): JSX.Element {
  while (above.length > 0 && above.at(-1)! >= depth) above.pop();
  above.push(depth);
  const Tag = `h${Math.min(kFirstLevel - 1 + above.length, 6)}` as 'h3';
  return <Tag>{inlines(tokens, 0)}</Tag>;
}

function blocks(tokens: Token[], depth: number): ComponentChildren {
  return tokens.map((token) => (depth < kDeepest ? block(token, depth + 1) : token.raw));
}

function inlines(tokens: Token[] | undefined, depth: number): ComponentChildren {
  return (tokens ?? []).map((token) => (depth < kDeepest ? inline(token, depth + 1) : token.raw));
}

function block(token: Token, depth: number): ComponentChildren {
  const marked = token as MarkedToken;
  switch (marked.type) {
    case 'space':
    case 'def':
      return null;
    case 'hr':
      return <hr />;
    case 'heading': // in a quote or a list, where it is no part of the outline
      return (
        <p>
          <strong>{inlines(marked.tokens, depth)}</strong>
        </p>
      );
    case 'code':
      return <CodeBlock language={marked.lang?.split(/\s/, 1)[0] ?? ''} text={marked.text} />;
    case 'blockquote':
      return <blockquote>{blocks(marked.tokens, depth)}</blockquote>;
    case 'list':
      return list(marked, depth);
    case 'table':
      return table(marked, depth);
    case 'paragraph':
      return <p>{inlines(marked.tokens, depth)}</p>;
    case 'html':
      return <p>{marked.raw}</p>;
    default:
      return inline(token, depth);
  }
}

function list(token: Tokens.List, depth: number): JSX.Element {
  const items = token.items.map((item) => <li>{blocks(item.tokens, depth)}</li>);
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, depth: number): JSX.Element {
  const cell = (Tag: 'th' | 'td') => (one: Tokens.TableCell) => (
    <Tag class={one.align ?? undefined}>{inlines(one.tokens, depth)}</Tag>
  );
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>{token.header.map(cell('th'))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>{row.map(cell('td'))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(token: Token, depth: number): ComponentChildren {
  const marked = token as MarkedToken;
  switch (marked.type) {
    case 'strong':
      return <strong>{inlines(marked.tokens, depth)}</strong>;
    case 'em':
      return <em>{inlines(marked.tokens, depth)}</em>;
    case 'del':
      return <del>{inlines(marked.tokens, depth)}</del>;
    case 'codespan':
      return <code>{marked.text}</code>;
    case 'br':
      return <br />;
    case 'link':
      return link(marked.href, inlines(marked.tokens, depth));
    case 'image': // to load it would tell another site that it was seen
      return link(marked.href, marked.text || marked.href);
    case 'checkbox':
      return marked.checked ? '☑ ' : '☐ ';
    case 'escape':
      return marked.text;
    case 'text':
      return marked.tokens ? inlines(marked.tokens, depth) : unescaped(marked.text);
    default:
      return token.raw; // HTML, and what is not known here
  }
}

/// A link, where it leads to the web or to an address of mail; else only its words.
function link(href: string, words: ComponentChildren): ComponentChildren {
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return words;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow" referrerpolicy="no-referrer">
      {words}
    </a>
  );
}

const kEntities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{2,8}));/gi, (whole, decimal, hex, name) => {
    if (name) return kEntities[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
