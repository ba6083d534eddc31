// OpenAI's own client against `cria serve`: what its users call must answer in the form that it reads.
// CRIA_PROGRAM is the program; the model is the one that comes with it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const KEY = 'a-key-of-the-test';
const MODEL = 'stories';
let server;
let address;
let client;

/// Starts the server and waits for its address, the one line that it prints.
before(async () => {
  server = spawn(process.env.CRIA_PROGRAM,
    ['serve', '--port', '0', '--slots', '2', '--max-context', '1024', '--template', 'chatml', '--model-name', MODEL],
    { env: { ...process.env, CRIA_API_KEY: KEY }, stdio: ['ignore', 'pipe', 'ignore'] });
  address = await new Promise((resolve, reject) => {
    let line = '';
    server.stdout.on('data', (text) => {
      line += text;
      if (line.endsWith('\n')) resolve(line.trim());
    });
    server.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
  client = new OpenAI({ baseURL: `${address}/v1`, apiKey: KEY, maxRetries: 0 });
});

after(async () => {
  const ended = new Promise((resolve) => server.on('exit', resolve));
  server.kill('SIGINT');
  assert.equal(await ended, 0);
});

const messages = [{ role: 'system', content: 'Tell stories.' }, { role: 'user', content: 'Once upon a time' }];
const greedy = { model: MODEL, temperature: 0, max_tokens: 8 };

async function metric(name) {
  const text = await (await fetch(`${address}/metrics`, { headers: { Authorization: `Bearer ${KEY}` } })).text();
  return Number(text.match(new RegExp(`^cria_${name} (\\d+)$`, 'm'))[1]);
}

test('models are listed and found by name', async () => {
  const names = [];
  for await (const model of await client.models.list()) names.push(model.id);
  assert.deepEqual(names, [MODEL]);
  assert.equal((await client.models.retrieve(MODEL)).owned_by, 'cria');
  await assert.rejects(client.models.retrieve('gpt-4'), OpenAI.NotFoundError);
});

test('a chat gives the same whole and streamed', async () => {
  const whole = await client.chat.completions.create({ ...greedy, messages });
  assert.equal(whole.object, 'chat.completion');
  assert.equal(whole.choices[0].message.role, 'assistant');
  assert.equal(whole.choices[0].finish_reason, 'length');
  assert.equal(whole.usage.completion_tokens, 8);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + 8);

  const stream = await client.chat.completions.create(
    { ...greedy, messages, stream: true, stream_options: { include_usage: true } });
  let text = '';
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, 8);

  const helper = client.chat.completions.stream({ ...greedy, messages });
  assert.equal((await helper.finalChatCompletion()).choices[0].message.content, text);
});

test('max_completion_tokens, n, seed, penalties and biases are taken', async () => {
  const reply = await client.chat.completions.create({
    model: MODEL, messages, max_completion_tokens: 3, n: 2, seed: 7, temperature: 1, presence_penalty: 1,
    frequency_penalty: 0.5, logit_bias: { 17: -100 }, top_p: 0.9, stop: ['###'], user: 'me' });
  assert.equal(reply.choices.length, 2);
  assert.ok(reply.usage.completion_tokens <= 6);
});

test('log-probabilities come in the forms of both paths', async () => {
  const chat = await client.chat.completions.create({ ...greedy, messages, logprobs: true, top_logprobs: 2 });
  const tokens = chat.choices[0].logprobs.content;
  assert.equal(tokens.length, 8);
  for (const token of tokens) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 2);
    assert.deepEqual(token.bytes, [...Buffer.from(token.token)]);
  }
  const text = await client.completions.create({ ...greedy, prompt: 'Once upon a time', logprobs: 1 });
  assert.equal(text.choices[0].logprobs.tokens.join(''), text.choices[0].text);
});

test('a text is continued, whole and streamed, from words and from tokens', async () => {
  const asked = { ...greedy, prompt: 'Once upon a time', frequency_penalty: 0 };
  const whole = await client.completions.create(asked);
  assert.equal(whole.object, 'text_completion');
  let text = '';
  for await (const chunk of await client.completions.create({ ...asked, stream: true })) text += chunk.choices[0].text;
  assert.equal(text, whole.choices[0].text);
  const tokenized = await client.post('/../tokenize', { body: { text: 'Once upon a time' } });
  const again = await client.completions.create({ ...asked, prompt: tokenized.tokens });
  assert.equal(again.choices[0].text, text);
});

test('embeddings are the same as numbers and in base64', async () => {
  const input = ['The dog ran.', 'A red ball.'];
  const packed = await client.embeddings.create({ model: MODEL, input });  // the client asks for base64
  const plain = await client.embeddings.create({ model: MODEL, input, encoding_format: 'float' });
  assert.equal(packed.data.length, 2);
  for (let i = 0; i < 2; ++i) {
    const vector = plain.data[i].embedding;
    assert.ok(Math.abs(vector.reduce((sum, value) => sum + value * value, 0) - 1) < 1e-5);
    assert.deepEqual([...Float32Array.from(packed.data[i].embedding)], [...Float32Array.from(vector)]);
  }
  assert.equal(plain.usage.prompt_tokens, plain.usage.total_tokens);
});

test('an answer fits a schema of zod', async () => {
  const Animal = z.object({ kind: z.enum(['cat', 'dog']), legs: z.number().int().min(0).max(9), wild: z.boolean() });
  const reply = await client.chat.completions.parse(
    { model: MODEL, messages, temperature: 0, max_tokens: 150, response_format: zodResponseFormat(Animal, 'animal') });
  assert.equal(reply.choices[0].finish_reason, 'stop');
  assert.deepEqual(Animal.parse(reply.choices[0].message.parsed), reply.choices[0].message.parsed);
});

const Count = z.object({ animal: z.enum(['cat', 'dog']), most: z.number().int().min(1).max(20) });
const counted = [];
const countTool = zodFunction({
  name: 'count', description: 'Counts animals', parameters: Count,
  function: (argument) => {
    counted.push(argument);
    return { count: argument.most };
  } });
const calling = { model: MODEL, messages, temperature: 0, max_tokens: 150, tools: [countTool] };

test('a call is parsed by the schema of its tool, whole and streamed', async () => {
  const asked = { ...calling, tool_choice: { type: 'function', function: { name: 'count' } } };
  const reply = await client.chat.completions.parse(asked);
  assert.equal(reply.choices[0].finish_reason, 'tool_calls');
  assert.equal(reply.choices[0].message.content, null);
  const [call] = reply.choices[0].message.tool_calls;
  assert.deepEqual(Count.parse(call.function.parsed_arguments), JSON.parse(call.function.arguments));

  const pieces = [];
  const stream = client.chat.completions.stream(asked);
  stream.on('tool_calls.function.arguments.delta', (event) => pieces.push(event.arguments_delta));
  const whole = await stream.finalChatCompletion();
  assert.ok(pieces.length > 1, 'the arguments come in pieces');
  assert.equal(pieces.join(''), call.function.arguments);
  assert.deepEqual(whole.choices[0].message.tool_calls[0].function.parsed_arguments, call.function.parsed_arguments);
  assert.equal(whole.choices[0].message.content, null);
});

for (const stream of [false, true]) {
  test(`the runner calls the function and sends its result${stream ? ', streamed' : ''}`, async () => {
    counted.length = 0;
    const runner = client.chat.completions.runTools(
      { ...calling, stream, tool_choice: 'required', parallel_tool_calls: false }, { maxChatCompletions: 2 });
    const results = [];
    runner.on('functionToolCallResult', (result) => results.push(JSON.parse(result)));
    await runner.done();
    assert.equal(counted.length, 2);
    assert.deepEqual(results, counted.map(({ most }) => ({ count: most })));
    for (const argument of counted) Count.parse(argument);
    assert.equal(runner.messages.filter(({ role }) => role === 'tool').length, 2);
  });
}

test('a model that calls nothing answers with text', async () => {
  const runner = client.chat.completions.runTools({ ...calling, stop: ['.'] });
  assert.equal(typeof await runner.finalContent(), 'string');
});

test('errors are those that the client knows', async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, messages, temperature: 3 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature' && /at most 2/.test(error.message));
  await assert.rejects(client.chat.completions.create({ ...greedy, messages, model: 'gpt-4' }), OpenAI.NotFoundError);
  await assert.rejects(client.embeddings.create({ model: MODEL, input: 'x'.repeat(9000) }),
    (error) => error instanceof OpenAI.BadRequestError && error.code === 'context_length_exceeded');
  await assert.rejects(
    client.chat.completions.create({ ...calling, tool_choice: { type: 'function', function: { name: 'walk' } } }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === 'tool_choice' && /"walk"/.test(error.message));
  const stranger = new OpenAI({ baseURL: `${address}/v1`, apiKey: 'another', maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test('a stream that is cancelled ends its job', async () => {
  const before = await metric('jobs_cancelled_total');
  const stream = await client.completions.create({ ...greedy, prompt: 'One day', max_tokens: 200, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;  // which aborts the request
  }
  const deadline = Date.now() + 20_000;
  while (await metric('jobs_cancelled_total') === before) assert.ok(Date.now() < deadline, 'the job goes on');
  assert.equal(await metric('slots_busy'), 0);
});
