// What the tests of the page share: a server that can be restarted, a browser, screenshots.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = process.env.CRIA_SHOTS;

export const WIDE = { width: 1280, height: 800 };
export const NARROW = { width: 375, height: 720 };

/// A port that was free a moment ago, for a server that comes back at the same address.
function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/// `cria serve` with the model that comes along, 1024 tokens of context and these options.
export class Server {
  constructor(options, environment = {}) {
    this.options = options;
    this.environment = environment;
  }

  async start() {
    this.port ??= await freePort();
    this.process = spawn(process.env.CRIA_PROGRAM,
      ['serve', '--port', `${this.port}`, '--slots', '2', '--max-context', '1024', '--drain-seconds', '0', ...this.options],
      { env: { ...process.env, ...this.environment }, stdio: ['ignore', 'pipe', 'ignore'] });
    this.address = await new Promise((resolve, reject) => {
      let line = '';
      this.process.stdout.on('data', (text) => {
        line += text;
        if (line.endsWith('\n')) resolve(line.trim());
      });
      this.process.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    });
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.on('exit', resolve));
    this.process.kill('SIGINT');
    await ended;
  }
}

let browser;

export async function openBrowser() {
  mkdirSync(SHOTS, { recursive: true });
  // Chromium's sandbox needs rights that root in a container lacks; the pages are the tests' own.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath: process.env.CRIA_CHROMIUM, args });
}

export function closeBrowser() {
  return browser.close();
}

/// A tab of its own storage, that remembers what it asked for and what went wrong in it.
export async function openPage(server, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: 'light', ...options });
  const page = await context.newPage();
  page.requested = [];
  page.complaints = [];
  page.on('request', (request) => page.requested.push(request.url()));
  page.on('pageerror', (error) => page.complaints.push(`${error}`));
  page.on('console', (message) => {
    const isRefusal = /Failed to load resource/.test(message.text()); // of a server that is away, or wants a key
    if (message.type() === 'error' && !isRefusal) page.complaints.push(message.text());
  });
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(server.address);
  return page;
}

/// Closes a tab that must have asked its own server only, and without errors.
export async function closePage(page, server) {
  const strangers = page.requested.filter((url) => !url.startsWith(`${server.address}/`) && !url.startsWith('blob:'));
  assert.deepEqual(strangers, []);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

export async function shot(page, name) {
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/// What axe finds, as lines; none is wanted.
export async function axe(page) {
  await page.evaluate(AXE); // by the debugger, which the page's policy does not bind
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  assert.ok(passes.length > 5);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
}

/// Makes answers as long as they may be, so that they can be stopped.
export function makeEndless(page) {
  return page.route('**/v1/*completions', (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true }) }));
}

export const messages = (page) => page.locator('.message');
export const answers = (page) => page.locator('.message.assistant');

export async function say(page, text) {
  await page.getByRole('textbox', { name: 'Message', exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/// Waits until what has been done shows: the page draws its state once a frame.
export function drawn(page) {
  return page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/// Waits until nothing is being answered.
export async function answered(page) {
  await drawn(page);
  await page.getByRole('button', { name: 'Send', exact: true }).waitFor();
  await page.locator('.message[aria-busy=true]').waitFor({ state: 'detached' });
}

export async function importFile(page, json) {
  await page.locator('input[type=file]').first().setInputFiles({
    name: 'conversations.json', mimeType: 'application/json', buffer: Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)),
  });
}

export async function setSampling(page, values) {
  await page.getByRole('button', { name: 'Settings' }).click();
  for (const [label, value] of Object.entries(values)) await page.getByLabel(label, { exact: true }).fill(`${value}`);
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
}
