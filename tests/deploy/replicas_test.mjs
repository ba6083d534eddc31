// Two replicas of `cria serve` behind HAProxy with deploy/haproxy.cfg: conversations stay where their beginning is, and
// nothing is lost or answered twice when a replica shuts down or is killed. Only requests to this machine itself.
// CRIA_PROGRAM is the program; the model is the one that comes with it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CONFIG = fileURLToPath(new URL('../../deploy/haproxy.cfg', import.meta.url));
const SLOTS = 8;
const TOKENS = 12;

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function until(what, seconds, holds) {
  const end = Date.now() + seconds * 1000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

class Replica {
  constructor(port) {
    this.port = port;
  }

  start() {
    this.process = spawn(process.env.CRIA_PROGRAM,
      ['serve', '--port', `${this.port}`, '--slots', `${SLOTS}`, '--max-context', '256', '--template', 'chatml'],
      { stdio: 'ignore' });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    return until('the replica is ready', 60, () => this.isReady());
  }

  async isReady() {
    return fetch(`http://127.0.0.1:${this.port}/ready`).then((reply) => reply.ok, () => false);
  }
}

let proxy;
let address;
const replicas = [];

before(async () => {
  for (let i = 0; i < 2; ++i) replicas.push(new Replica(await freePort()));
  await Promise.all(replicas.map((replica) => replica.start()));
  const port = await freePort();
  address = `http://127.0.0.1:${port}`;
  proxy = spawn('haproxy', ['-db', '-f', CONFIG], {
    env: { ...process.env, CRIA_LISTEN: `127.0.0.1:${port}`,
      CRIA_REPLICA_1: `127.0.0.1:${replicas[0].port}`, CRIA_REPLICA_2: `127.0.0.1:${replicas[1].port}` },
    stdio: 'ignore' });
  await until('HAProxy sees a replica', 20, () => fetch(`${address}/ready`).then((reply) => reply.ok, () => false));
});

after(async () => {
  proxy.kill('SIGTERM');
  for (const replica of replicas) replica.process.kill('SIGKILL');
  await Promise.all(replicas.map((replica) => replica.ended));
});

function post(path, body) {
  return fetch(`${address}${path}`,
    { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
}

/// A streamed completion: the replica, the number of pieces that came, and how it ended.
class Stream {
  constructor(prompt) {
    this.pieces = 0;
    this.finishes = 0;
    this.isWhole = false;
    this.done = this.run(prompt).catch((error) => { this.error = error; });
  }

  async run(prompt) {
    const reply = await post('/v1/completions', { prompt, max_tokens: TOKENS, ignore_eos: true, temperature: 0, stream: true,
      stream_options: { include_usage: true } });
    this.status = reply.status;
    this.replica = reply.headers.get('x-cria-replica');
    let text = '';
    for await (const bytes of reply.body) {
      text += Buffer.from(bytes).toString();
      const events = text.split('\n\n');
      text = events.pop();
      for (const event of events) {
        if (event === 'data: [DONE]') {
          this.isWhole = true;
          continue;
        }
        const json = JSON.parse(event.replace(/^data: /, ''));
        this.ids ??= new Set();
        this.ids.add(json.id);
        if (json.usage) this.tokens = json.usage.completion_tokens;
        for (const choice of json.choices ?? []) {
          ++this.pieces;
          if (choice.finish_reason) ++this.finishes;
        }
      }
    }
  }
}

async function ask(messages) {
  const reply = await post('/v1/chat/completions', { messages, max_tokens: 4, temperature: 0 });
  assert.equal(reply.status, 200);
  const { choices, usage } = await reply.json();
  return { replica: reply.headers.get('x-cria-replica'), answer: choices[0].message,
    cached: usage.prompt_tokens_details.cached_tokens };
}

test('a conversation stays with the replica that has it in its cache, and conversations are spread', async () => {
  const used = new Set();
  for (let i = 0; i < 6; ++i) {
    const messages = [{ role: 'system', content: 'You tell stories.' }, { role: 'user', content: `Tell me number ${i}.` }];
    const first = await ask(messages);
    used.add(first.replica);
    for (let turn = 0; turn < 2; ++turn) {
      messages.push(first.answer, { role: 'user', content: 'And then?' });
      const next = await ask(messages);
      assert.equal(next.replica, first.replica);
      assert.ok(next.cached > 0, 'the turns before are in its cache');
    }
  }
  assert.equal(used.size, 2);
});

test('what one killed replica had not begun is answered by the other, once, and what the other had begun goes on', async () => {
  const streams = Array.from({ length: 32 }, (_, i) => new Stream(`Story ${i}: once upon a time there was`));
  await until('both replicas answer', 60,
    () => new Set(streams.filter((stream) => stream.pieces > 1).map((stream) => stream.replica)).size === 2);
  assert.ok(streams.some((stream) => !stream.status), 'some wait for a slot');
  replicas[0].process.kill('SIGKILL');
  await Promise.all(streams.map((stream) => stream.done));

  const broken = streams.filter((stream) => !stream.isWhole);
  assert.ok(broken.length > 0 && broken.every((stream) => stream.replica === 'cria1'), 'only what it had begun breaks off');
  for (const stream of streams.filter((each) => each.isWhole)) {
    assert.equal(stream.status, 200);
    assert.equal(stream.tokens, TOKENS);
    assert.equal(stream.finishes, 1);
    assert.equal(stream.ids.size, 1, 'one answer');
  }
  const later = await Promise.all(Array.from({ length: 8 }, (_, i) => ask([{ role: 'user', content: `Later ${i}` }])));
  assert.ok(later.every(({ replica }) => replica === 'cria2'));
});

test('a replica that comes back is used again, and one that shuts down ends its answers and gets no new ones', async () => {
  await replicas[0].start();
  await until('it is used again', 20, async () =>
    (await Promise.all(Array.from({ length: 8 }, (_, i) => ask([{ role: 'user', content: `Again ${i}` }]))))
      .some(({ replica }) => replica === 'cria1'));

  const streams = Array.from({ length: 12 }, (_, i) => new Stream(`Tale ${i}: long ago there lived`));
  await until('both replicas answer', 60,
    () => new Set(streams.filter((stream) => stream.pieces > 1).map((stream) => stream.replica)).size === 2);
  replicas[1].process.kill('SIGTERM');
  await until('it shuts down', 10, async () => !(await replicas[1].isReady()));
  const during = await Promise.all(Array.from({ length: 8 }, (_, i) => ask([{ role: 'user', content: `Meanwhile ${i}` }])));
  assert.ok(during.every(({ replica }) => replica === 'cria1'));
  await Promise.all(streams.map((stream) => stream.done));
  for (const stream of streams) {
    assert.ok(stream.isWhole, `${stream.replica}: ${stream.error}`);
    assert.equal(stream.tokens, TOKENS);
  }
  assert.equal(await replicas[1].ended, 0);
});
