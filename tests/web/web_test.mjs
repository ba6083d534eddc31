// The page of `cria serve` in a real browser, against the program. CRIA_PROGRAM is the program, CRIA_CHROMIUM the
// browser, CRIA_SHOTS the folder for screenshots; the model is the one that comes along.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  NARROW, Server, WIDE, answered, answers, axe, closeBrowser, closePage, drawn, importFile, makeEndless, messages, openBrowser,
  openPage, say, setSampling, shot,
} from './harness.mjs';

const FIRST_PAINT_MS = 200;
const PAGE_BYTES = 300_000;

const server = new Server(['--template', 'chatml', '--model-name', 'stories']);

before(async () => {
  await openBrowser();
  await server.start();
});
after(async () => {
  await closeBrowser();
  await server.stop();
});

const MARKDOWN = `There are **two** usual ways to turn a list round, both *short*:

1. \`items.reverse()\` changes the list itself
2. \`items[::-1]\` gives a new one

\`\`\`python
def turned(items: list[int]) -> list[int]:
    """Gives the items from last to first."""
    return items[::-1]
\`\`\`

## Which one?

| way | copies | speed |
|:--|:-:|--:|
| reverse | no | fast |
| slice | yes | a bit slower |

> Premature optimisation is the root of all evil.

- [x] read [the manual](https://docs.python.org/3/)
- [ ] try it: 1 &lt; 2 &amp; 3`;

const conversation = (content) => ({
  cria_chat: 1, model: 'any',
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'How do I turn a list round in Python?' },
    { role: 'assistant', content },
  ],
});

test('a conversation: streaming, figures, stop, answering anew, editing, reloading', async () => {
  const page = await openPage(server);
  await makeEndless(page);
  await page.locator('.badge.ok').waitFor();
  await shot(page, 'welcome');
  await setSampling(page, { 'Max tokens': 24, Seed: 1, Temperature: 0.8 });

  const sent = page.waitForRequest('**/v1/chat/completions');
  await say(page, 'Once upon a time there was a little dog');
  const body = (await sent).postDataJSON();
  assert.deepEqual(
    { messages: body.messages, max_tokens: body.max_tokens, seed: body.seed, temperature: body.temperature },
    { messages: [{ role: 'user', content: 'Once upon a time there was a little dog' }], max_tokens: 24, seed: 1, temperature: 0.8 });
  assert.ok(!('top_k' in body), 'an empty control leaves the choice to the server');
  await answered(page);
  const first = await answers(page).locator('.prose').innerText();
  assert.ok(first.length > 10, first);
  assert.match(await answers(page).locator('.figures').innerText(), /^24 tokens · [\d.]+ tokens\/s · cut off/);
  assert.match(await page.locator('.status-line').innerText(), /[\d.]+ MiB of memory\s+\d+ of 1024 tokens of context/);

  await page.getByRole('button', { name: 'Answer anew' }).click();
  await answered(page);
  assert.equal(await answers(page).locator('.prose').innerText(), first, 'the same seed draws the same answer');
  await page.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  await setSampling(page, { Seed: 2 });
  await page.getByRole('button', { name: 'Answer anew' }).click();
  await answered(page);
  const third = await answers(page).locator('.prose').innerText();
  assert.notEqual(third, first);

  // An answer that would go on for long shows up as it is made, and ends when it is stopped.
  await setSampling(page, { 'Max tokens': 900 });
  await say(page, 'And then?');
  await page.waitForFunction(() => document.querySelectorAll('.message.assistant .prose')[1]?.textContent.length > 20);
  await shot(page, 'streaming');
  assert.match(await page.locator('.status-line').innerText(), /tokens\/s/);
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Stop' }).click();
  await answered(page);
  assert.match(await answers(page).nth(1).locator('.figures').innerText(), /^≈ \d+ tokens .*stopped$/);
  const stopped = await answers(page).nth(1).locator('.prose').innerText();

  // An earlier message is edited: what followed it stays as another version.
  await setSampling(page, { 'Max tokens': 12 });
  await page.getByRole('button', { name: 'Edit message' }).first().click();
  await page.getByRole('textbox', { name: 'Edit message' }).fill('Once upon a time there was a cat');
  const edited = page.waitForRequest('**/v1/chat/completions');
  await page.keyboard.press('Enter');
  assert.deepEqual((await edited).postDataJSON().messages, [{ role: 'user', content: 'Once upon a time there was a cat' }]);
  await answered(page);
  assert.equal(await messages(page).count(), 2);
  await page.getByRole('button', { name: 'Version before' }).first().click();
  await page.getByText('And then?').waitFor();
  assert.equal(await answers(page).nth(1).locator('.prose').innerText(), stopped);
  assert.equal(await answers(page).nth(0).locator('.prose').innerText(), third);

  // What was said before goes along with what is said next.
  const next = page.waitForRequest('**/v1/chat/completions');
  await say(page, 'Go on');
  assert.deepEqual((await next).postDataJSON().messages.map(({ role }) => role), ['user', 'assistant', 'user', 'assistant', 'user']);
  await answered(page);

  const before = await messages(page).allInnerTexts();
  await page.reload();
  await page.getByText('And then?').waitFor();
  await answered(page);
  assert.deepEqual(await messages(page).allInnerTexts(), before);
  await closePage(page, server);
});

test('the system prompt goes first, and a value out of range is not sent', async () => {
  const page = await openPage(server);
  await page.locator('.badge.ok').waitFor();
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('System prompt').fill('You tell stories.');
  await page.getByLabel('Temperature').fill('3');
  await page.getByText('Temperature is “3”: it must be a number from 0 to 2.').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
  await say(page, 'Hello');
  await page.getByRole('alert').filter({ hasText: 'Temperature is “3”' }).waitFor();
  assert.equal(await messages(page).count(), 0);
  assert.equal(await page.getByRole('textbox', { name: 'Message', exact: true }).inputValue(), 'Hello');
  await setSampling(page, { Temperature: 0, 'Max tokens': 4 });
  const sent = page.waitForRequest('**/v1/chat/completions');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  assert.deepEqual((await sent).postDataJSON().messages[0], { role: 'system', content: 'You tell stories.' });
  await answered(page);

  // A refusal of the server's is shown in its words.
  await page.route('**/v1/chat/completions', (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), top_p: 7 }) }));
  await say(page, 'Again');
  await page.getByRole('alert').filter({ hasText: '"top_p" is 7' }).waitFor();
  await closePage(page, server);
});

test('conversations are exported, deleted, imported, renamed; other files are refused', async () => {
  const page = await openPage(server);
  await page.locator('.badge.ok').waitFor();
  await importFile(page, conversation(MARKDOWN));
  await page.getByRole('table').waitFor();
  const shown = await messages(page).allInnerTexts();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export all' }).click();
  const file = readFileSync(await (await download).path(), 'utf8');
  assert.equal(JSON.parse(file).cria_conversations, 1);
  assert.equal(JSON.parse(file).conversations[0].system, 'Be brief.');

  await page.getByRole('button', { name: /^Delete/ }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('Conversations are kept in this browser only.').waitFor();
  await importFile(page, file);
  await page.getByRole('table').waitFor();
  assert.deepEqual(await messages(page).allInnerTexts(), shown);
  await page.getByRole('button', { name: /^Rename/ }).click();
  await page.getByRole('textbox', { name: 'Name of the conversation' }).waitFor();
  await page.keyboard.type('Lists');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Lists', exact: true }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Lists', level: 1 }).waitFor();

  const wrong = [
    ['{', 'not JSON'], ['[]', 'not an object'], ['{"cria_conversations": 2}', 'no conversations of Cria'],
    [{ cria_conversations: 1, conversations: [{ kind: 'talk' }] }, 'must be chat or text'],
    [{ cria_conversations: 1, conversations: [{ kind: 'chat', messages: [{ id: 'a', parent: 'b', role: 'user', content: '' }] }] },
      'does not come before it'],
    [{ cria_chat: 1, messages: [{ role: 'tool', content: 'x' }] }, 'must be system or user or assistant'],
  ];
  for (const [json, sentence] of wrong) {
    await importFile(page, json);
    await page.getByRole('alert').filter({ hasText: sentence }).waitFor();
  }
  assert.equal(await page.locator('.entry').count(), 1);
  await closePage(page, server);
});

const HOSTILE = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> text

<img src="https://evil.example/a.png"> ![image](https://evil.example/b.png) ![own](/metrics)
<iframe src="https://evil.example/"></iframe><svg onload="window.hacked = 3"></svg>
<style>body { background: url(https://evil.example/c.png) }</style><link rel="stylesheet" href="https://evil.example/d.css">

<a href="javascript:window.hacked = 4">raw</a>

[script](javascript:window.hacked=5) [data](data:text/html,<script>6</script>)
[tab](java&#x09;script:window.hacked=7) [upper](JaVaScRiPt:window.hacked=8) <javascript:window.hacked=9>
[web](https://evil.example/page) [quote](https://evil.example/"onmouseover="window.hacked=10)

| <b onclick="window.hacked = 11">x</b> | y |
|--|--|
| <form action="https://evil.example"><button>go</button></form> | [z](vbscript:x) |

<details open ontoggle="window.hacked = 12"><base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example/">

[ref]: javascript:window.hacked=13
[ref] \`<img src=x onerror=window.hacked=14>\`

\`\`\`html"onclick="window.hacked=15
</code></pre><script>window.hacked = 16</script>
\`\`\`

${'> '.repeat(5000)}deep ${'['.repeat(2000)}`;

/// Nothing of the model's became markup: only elements that Markdown has, with none but their own attributes.
async function assertHarmless(page) {
  const found = await page.evaluate(() =>
    [...document.querySelectorAll('.prose *:not(.icon, .icon *, .icon-button)')].map((element) => ({
      tag: element.tagName, href: element.getAttribute('href'), attributes: element.getAttributeNames(),
    })));
  const tags = new Set(['P', 'A', 'STRONG', 'EM', 'DEL', 'CODE', 'PRE', 'BR', 'HR', 'UL', 'OL', 'LI', 'BLOCKQUOTE', 'DIV', 'SPAN',
    'TABLE', 'THEAD', 'TBODY', 'TR', 'TH', 'TD', 'H3', 'H4', 'H5', 'H6']);
  const attributes = new Set(['class', 'href', 'target', 'rel', 'referrerpolicy', 'tabindex', 'role', 'aria-label', 'start']);
  assert.ok(found.length > 5);
  for (const element of found) {
    assert.ok(tags.has(element.tag), element.tag);
    for (const name of element.attributes) assert.ok(attributes.has(name), name);
    if (element.tag === 'A') assert.match(element.href, /^https?:\/\//);
  }
  assert.equal(await page.evaluate(() => window.hacked), undefined);
}

test('hostile Markdown runs nothing and asks for nothing, kept or streamed', async () => {
  const page = await openPage(server);
  await page.locator('.badge.ok').waitFor();
  await importFile(page, conversation(HOSTILE.replace(/\n\n> .*$/s, '')));
  await page.getByText('window.hacked = 1').first().waitFor();
  for (const element of await page.locator('.prose td, .prose th').all()) await element.click();
  await assertHarmless(page);
  const links = await page.locator('.prose a').evaluateAll((all) => all.map((link) => [link.textContent, link.getAttribute('href')]));
  assert.deepEqual(links, [['image', 'https://evil.example/b.png'], ['web', 'https://evil.example/page'],
    ['quote', 'https://evil.example/"onmouseover="window.hacked=10']]);
  await shot(page, 'hostile');

  const events = [];
  for (let i = 0; i < HOSTILE.length; i += 97) events.push({ choices: [{ delta: { content: HOSTILE.slice(i, i + 97) } }] });
  await page.route('**/v1/chat/completions', (route) => route.fulfill({
    contentType: 'text/event-stream', body: `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`,
  }));
  await page.getByRole('button', { name: 'New chat' }).click();
  await say(page, 'Attack');
  await answered(page);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await importFile(page, conversation('after it, the page **works**'));
  await page.locator('.prose strong').waitFor();
  await closePage(page, server);
});

test('a server that goes away is told of, and found again', async () => {
  const mortal = new Server(['--template', 'chatml', '--model-name', 'mortal']);
  await mortal.start();
  const page = await openPage(mortal);
  await makeEndless(page);
  await page.locator('.badge.ok').waitFor();
  await setSampling(page, { 'Max tokens': 900 });
  await say(page, 'Once upon a time');
  await page.waitForFunction(() => document.querySelector('.message.assistant .prose')?.textContent.length > 10);
  await mortal.stop();
  await page.locator('.failure').waitFor();
  await page.getByRole('alert').filter({ hasText: 'The server is away' }).waitFor();
  assert.ok((await answers(page).locator('.prose').innerText()).length > 10, 'what had come stays');
  await shot(page, 'away');
  assert.deepEqual(await axe(page), []);
  await page.getByRole('textbox', { name: 'Message', exact: true }).fill('Is anybody there?');
  for (const name of ['Send', 'Answer anew', 'Try again']) {
    assert.ok(await page.getByRole('button', { name, exact: true }).isDisabled(), name);
  }

  mortal.options = ['--template', 'chatml', '--model-name', 'reborn'];
  await mortal.start();
  await page.locator('.badge.ok').filter({ hasText: 'reborn' }).waitFor();
  assert.equal(await page.locator('.trouble').count(), 0);
  await setSampling(page, { 'Max tokens': 8 });
  await page.getByRole('button', { name: 'Try again' }).click();
  await answered(page);
  assert.match(await answers(page).locator('.figures').innerText(), /^8 tokens/);
  await closePage(page, mortal);
  await mortal.stop();
});

test('a key is asked for, and forgotten with the session', async () => {
  const locked = new Server(['--template', 'chatml', '--model-name', 'locked'], { CRIA_API_KEY: 'open-sesame' });
  await locked.start();
  const page = await openPage(locked);
  const field = page.getByLabel('API key');
  await field.fill('open-barley');
  await page.keyboard.press('Enter');
  await page.getByText('The server does not take this key.').waitFor();
  assert.deepEqual(await axe(page), []);
  await shot(page, 'key');
  await field.fill('open-sesame');
  await page.keyboard.press('Enter');
  await page.locator('.badge.ok').waitFor();
  await setSampling(page, { 'Max tokens': 4 });
  await say(page, 'Hello');
  await answered(page);
  await page.reload();
  await page.locator('.badge.ok').waitFor();
  const kept = await page.evaluate(async () => JSON.stringify([{ ...localStorage }, (await indexedDB.databases()).length, document.cookie]));
  assert.ok(!kept.includes('sesame'), kept);

  const other = await page.context().newPage();
  await other.goto(locked.address);
  await other.getByLabel('API key').waitFor();
  await closePage(page, locked);
  await locked.stop();
});

test('a model without a chat template continues a text', async () => {
  const plain = new Server(['--model-name', 'plain']);
  await plain.start();
  const page = await openPage(plain);
  const text = page.getByRole('textbox');
  await page.getByText('This model continues texts').waitFor();
  assert.equal(await page.getByRole('button', { name: 'New chat' }).count(), 0);
  await setSampling(page, { 'Max tokens': 12, Temperature: 0 });
  await text.fill('Once upon a time');
  const done = async () => {
    await page.getByRole('button', { name: 'Undo' }).waitFor();
    await page.locator('#text[aria-busy=false]').waitFor();
  };
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.waitForFunction(() => document.querySelector('#text').value.length > 'Once upon a time'.length);
  await done();
  const continued = await text.inputValue();
  assert.ok(continued.startsWith('Once upon a time'), continued);
  assert.deepEqual(await axe(page), []);
  await shot(page, 'text');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Undo' }).click();
  await drawn(page);
  assert.equal(await text.inputValue(), 'Once upon a time');
  await text.press('Control+Enter');
  await page.waitForFunction((length) => document.querySelector('#text').value.length === length, continued.length);
  await done();
  assert.equal(await text.inputValue(), continued, 'temperature 0 takes the same way');
  await page.reload();
  await page.waitForFunction((value) => document.querySelector('#text')?.value === value, continued);
  await closePage(page, plain);
  await plain.stop();
});

test('all can be done with the keyboard alone', async () => {
  const page = await openPage(server);
  await page.locator('.badge.ok').waitFor();
  await setSampling(page, { 'Max tokens': 6 });
  await page.reload();
  await page.locator('.badge.ok').waitFor();
  await page.locator('body').press('Shift+Tab'); // from the box to what stands before it
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent);
  const tabTo = async (name) => {
    for (let i = 0; i < 30 && (await focused()) !== name; ++i) await page.keyboard.press('Tab');
    assert.equal(await focused(), name);
  };
  await tabTo('Skip to the conversation');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'Message');
  await page.keyboard.type('Hello');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('there');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await page.locator('.bubble').innerText(), 'Hello\nthere');
  assert.match(await page.getByRole('status').textContent(), /^Answer: ./, 'screen readers are told');
  await tabTo('Answer anew');
  await page.keyboard.press('Enter');
  await page.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  await answered(page);
  await tabTo('Settings');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await focused(), 'Settings', 'a dialog gives the focus back');
  await closePage(page, server);
});

for (const [size, viewport] of [['wide', WIDE], ['narrow', NARROW]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`axe finds nothing: ${size}, ${colorScheme}`, async () => {
      const page = await openPage(server, { viewport, colorScheme });
      await page.locator('.badge.ok').waitFor();
      const check = async (name) => {
        await shot(page, `${name}-${size}-${colorScheme}`);
        assert.deepEqual(await axe(page), [], name);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${name} is ${overflow} pixels wider than the window`);
      };
      await check('welcome');
      await importFile(page, conversation(MARKDOWN));
      await page.getByRole('table').waitFor();
      await setSampling(page, { 'Max tokens': 8 });
      await page.getByRole('button', { name: 'Answer anew' }).click();
      await answered(page);
      await page.getByRole('button', { name: 'Version before' }).click();
      await page.getByRole('table').waitFor();
      await check('chat');
      await page.getByRole('button', { name: 'Edit message' }).click();
      await check('edit');
      await page.getByRole('button', { name: 'Cancel' }).click();
      await page.getByRole('button', { name: 'Settings' }).click();
      await page.getByLabel('Top-p').fill('2');
      await check('settings');
      await page.keyboard.press('Escape');
      if (size === 'narrow') {
        await page.getByRole('button', { name: 'Conversations' }).click();
        await check('conversations');
      }
      await page.getByRole('button', { name: /^Delete/ }).last().click();
      await check('delete');
      await closePage(page, server);
    });
  }
}

test('the switch of the theme overrides the system, and is kept', async () => {
  const page = await openPage(server, { colorScheme: 'dark' });
  const isDark = () => page.evaluate(() => {
    const [red] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    return red < 128;
  });
  await page.locator('.badge.ok').waitFor();
  assert.equal(await isDark(), true);
  await page.getByRole('button', { name: 'Light theme' }).click();
  await page.getByRole('button', { name: 'Dark theme' }).waitFor();
  assert.equal(await isDark(), false);
  await page.reload();
  assert.equal(await isDark(), false);
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('As the system').check({ force: true });
  assert.equal(await isDark(), true);
  await closePage(page, server);
});

test(`the first paint comes within ${FIRST_PAINT_MS} ms, and the page has at most ${PAGE_BYTES} bytes`, async () => {
  const paints = [];
  let bytes = 0;
  // The best one counts: what else the machine does is not the page's.
  while (paints.length < 20 && !(paints.at(-1) <= FIRST_PAINT_MS)) {
    const page = await openPage(server); // with an empty cache
    await page.locator('.badge.ok').waitFor();
    const [paint, sizes] = await page.evaluate(() => [
      performance.getEntriesByName('first-contentful-paint')[0].startTime,
      [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter((entry) => !/\/(ready|metrics|v1\/models)$/.test(entry.name)).map((entry) => entry.encodedBodySize),
    ]);
    assert.ok(sizes.length >= 4);
    paints.push(paint);
    bytes = sizes.reduce((sum, size) => sum + size, 0);
    await closePage(page, server);
  }
  console.log(`first paint: ${paints.map((paint) => paint.toFixed(0)).join(', ')} ms; ${bytes} bytes`);
  assert.ok(bytes > 1000 && bytes <= PAGE_BYTES, `${bytes}`);
  assert.ok(paints.at(-1) <= FIRST_PAINT_MS, `${paints}`);
});
