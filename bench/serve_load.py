#!/usr/bin/env python3
"""Loads servers of OpenAI's API with streamed completions, and tells how fast they answer. Needs Python only.

  serve_load.py [OPTIONS] [NAME=]URL...          for instance  cria=http://127.0.0.1:8080 llama=http://127.0.0.1:8081

Each prompt is a list of random tokens of its own, so that no two have a beginning in common. So many requests at once as
there are streams; a stream sends its next request when its last answer is whole. Answers are greedy, and as long as they
may be (`ignore_eos`). Several servers take turns, round after round; each figure is the median of its rounds.

  tokens/s             generated tokens of all streams, from the first request to the end of the last answer
  time to first token  from sending a request until the first piece of text has come
  between tokens       between two pieces of one text that follow each other

With --shared-tokens all prompts begin alike, as with a system prompt: a first request alone, then all others; only the
first should have to read what they have in common.
"""

import argparse
import asyncio
import json
import random
import ssl
import statistics
import sys
import time
import urllib.parse


class Failure(Exception):
    """A sentence for the user."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="[NAME=]URL")
    parser.add_argument("--streams", type=int, default=32, help="requests at once (%(default)s)")
    parser.add_argument("--prompt-tokens", type=int, default=256, help="of each prompt's own (%(default)s)")
    parser.add_argument("--new-tokens", type=int, default=128, help="of each answer (%(default)s)")
    parser.add_argument("--requests", type=int, help="in each round (four for each stream)")
    parser.add_argument("--shared-tokens", type=int, default=0, help="that all prompts begin with (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="first one server, then the next (%(default)s)")
    parser.add_argument("--warm-up", type=int, help="requests before the first round that do not count (one a stream)")
    parser.add_argument("--wait", type=float, default=0, help="seconds for servers to become ready (%(default)s)")
    parser.add_argument("--vocab", type=int, default=4000, help="prompts hold tokens from 300 to this (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--extra", type=json.loads, default={}, help="JSON object of further parameters")
    chosen = parser.parse_args()
    for name in ("streams", "prompt_tokens", "new_tokens", "rounds"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(chosen, name)}: it must be at least 1")
    if chosen.vocab <= 300:
        parser.error(f"--vocab is {chosen.vocab}: it must be above 300")
    if chosen.requests is None:
        chosen.requests = 4 * chosen.streams
    if chosen.warm_up is None:
        chosen.warm_up = chosen.streams
    return chosen


class Answer:
    """When the pieces of one answer came, in seconds, and how many tokens they were."""

    def __init__(self):
        self.sent = time.perf_counter()
        self.pieces = []
        self.ended = None
        self.tokens = None

    def take(self, event, now):
        if event == "[DONE]":
            self.ended = now
            return
        part = json.loads(event)
        if "error" in part:
            raise Failure(f"a stream ended with the error: {part['error'].get('message', part['error'])}")
        if part.get("usage"):
            self.tokens = part["usage"]["completion_tokens"]
        if any(choice.get("text") for choice in part.get("choices", [])):
            self.pieces.append(now)


class Server:
    def __init__(self, text, options):
        name, _, url = text.rpartition("=")
        self.url = urllib.parse.urlsplit(url)
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise Failure(f'"{text}" is no [NAME=]URL such as cria=http://127.0.0.1:8080')
        self.name = name or self.url.netloc
        self.options = options
        self.random = random.Random(options.seed)
        self.shared = self.tokens(options.shared_tokens)

    def tokens(self, count):
        return [self.random.randrange(300, self.options.vocab) for _ in range(count)]

    async def open(self):
        secure = self.url.scheme == "https"
        context = ssl.create_default_context() if secure else None
        port = self.url.port or (443 if secure else 80)
        return await asyncio.open_connection(self.url.hostname, port, ssl=context, limit=1 << 24)

    def head(self, method, path, length=0):
        key = f"Authorization: Bearer {self.options.api_key}\r\n" if self.options.api_key else ""
        body = f"Content-Type: application/json\r\nContent-Length: {length}\r\n" if method == "POST" else ""
        return (f"{method} {self.url.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {self.url.netloc}\r\n{key}{body}"
                "Connection: close\r\n\r\n").encode()

    async def is_ready(self):
        try:
            reader, writer = await self.open()
            writer.write(self.head("GET", "/health"))
            status = (await reader.readline()).split()
            writer.close()
            return len(status) > 1 and status[1] == b"200"
        except OSError:
            return False

    async def ask(self):
        """Sends one request and returns its Answer."""
        body = {"prompt": self.shared + self.tokens(self.options.prompt_tokens), "max_tokens": self.options.new_tokens,
                "temperature": 0, "repetition_penalty": 1, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}} | self.options.extra
        data = json.dumps(body).encode()
        reader, writer = await self.open()
        answer = Answer()
        writer.write(self.head("POST", "/v1/completions", len(data)) + data)
        try:
            status, chunked = await read_head(reader)
            if status != 200:
                text = (await reader.read(2000)).decode(errors="replace")
                raise Failure(f"{self.name} answered with status {status}: {text}")
            text = b""
            async for data in (chunks(reader) if chunked else pieces(reader)):
                now = time.perf_counter()
                *events, text = (text + data).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: "):
                        answer.take(event[6:].decode(), now)
        finally:
            writer.close()
        if answer.ended is None or not answer.pieces:
            raise Failure(f"{self.name} broke a stream off after {len(answer.pieces)} pieces")
        if answer.tokens is None:
            answer.tokens = len(answer.pieces)
        return answer


async def read_head(reader):
    """The status, and whether the body comes in chunks."""
    words = (await reader.readline()).split()
    if len(words) < 2:
        raise Failure("a server closed the connection without an answer")
    chunked = False
    while (line := await reader.readline()) not in (b"\r\n", b""):
        chunked = chunked or line.lower().replace(b" ", b"") == b"transfer-encoding:chunked\r\n"
    return int(words[1]), chunked


async def chunks(reader):
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


async def pieces(reader):
    while data := await reader.read(1 << 16):
        yield data


async def ask_all(server, count, streams):
    """So many answers, at most `streams` of them at once."""
    answers = []
    left = iter(range(count))

    async def stream():
        for _ in left:
            answers.append(await server.ask())

    await asyncio.gather(*(stream() for _ in range(min(streams, count))))
    return answers


def quantile(values, share):
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


async def measure(server, options):
    """One round: its figures by name, times in milliseconds."""
    found = {}
    if options.shared_tokens:
        server.shared = server.tokens(options.shared_tokens)  # that no cache holds
        first = await server.ask()
        found["first_request_ttft_ms"] = 1000 * (first.pieces[0] - first.sent)
    answers = await ask_all(server, options.requests, options.streams)
    seconds = max(a.ended for a in answers) - min(a.sent for a in answers)
    waits = [1000 * (a.pieces[0] - a.sent) for a in answers]
    gaps = [1000 * (b - a) for answer in answers for a, b in zip(answer.pieces, answer.pieces[1:])]
    found |= {"requests": len(answers), "generated_tokens": sum(a.tokens for a in answers), "seconds": seconds}
    found["tokens_per_second"] = found["generated_tokens"] / seconds
    found |= {"ttft_median_ms": statistics.median(waits), "ttft_p99_ms": quantile(waits, 0.99)}
    if gaps:
        found |= {"between_median_ms": statistics.median(gaps), "between_p99_ms": quantile(gaps, 0.99)}
        found["between_p99_over_median"] = found["between_p99_ms"] / found["between_median_ms"]
    # A stream alone: what is left of a step's speed behind HTTP.
    found["decode_tokens_per_second_of_a_stream"] = statistics.median(
        (a.tokens - 1) / (a.pieces[-1] - a.pieces[0]) if len(a.pieces) > 1 else 0 for a in answers)
    if missing := options.requests * options.new_tokens - found["generated_tokens"]:
        print(f"serve_load: {server.name} generated {missing} tokens less than it was asked for", file=sys.stderr)
    return found


def report(name, found, options):
    print(f"{name}: {options.streams} streams, prompts of {options.shared_tokens + options.prompt_tokens} tokens, answers "
          f"of {options.new_tokens}, {found['requests']:.0f} requests a round")
    print(f"  {found['tokens_per_second']:.1f} tokens/s; {found['decode_tokens_per_second_of_a_stream']:.1f} of a stream "
          "after its first token")
    print(f"  time to first token: median {found['ttft_median_ms']:.1f} ms, 99 % within {found['ttft_p99_ms']:.1f} ms")
    if "between_median_ms" in found:
        print(f"  between tokens: median {found['between_median_ms']:.2f} ms, 99 % within {found['between_p99_ms']:.2f} ms "
              f"({found['between_p99_over_median']:.2f} times the median)")
    if "first_request_ttft_ms" in found:
        print(f"  the {options.shared_tokens} tokens that all begin with: time to first token {found['first_request_ttft_ms']:.1f}"
              f" ms of the first request, {found['ttft_median_ms']:.1f} ms of the others")


async def run(options):
    servers = [Server(text, options) for text in options.servers]
    deadline = time.monotonic() + options.wait
    for server in servers:
        while not await server.is_ready():
            if time.monotonic() > deadline:
                raise Failure(f"{server.name} is not ready ({server.url.geturl()}/health)")
            await asyncio.sleep(0.1)
    for server in servers:
        await ask_all(server, options.warm_up, options.streams)
    rounds = {server.name: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            rounds[server.name].append(await measure(server, options))
    figures = {}
    for name, found in rounds.items():
        figures[name] = {key: statistics.median(each[key] for each in found) for key in found[0]}
        report(name, figures[name], options)
    result = {"streams": options.streams, "prompt_tokens": options.prompt_tokens, "new_tokens": options.new_tokens,
              "shared_tokens": options.shared_tokens, "rounds": options.rounds, "servers": figures}
    if len(servers) == 2:
        a, b = (figures[server.name] for server in servers)
        result["tokens_per_second_ratio"] = a["tokens_per_second"] / b["tokens_per_second"]
        print(f"{servers[0].name} over {servers[1].name}: {result['tokens_per_second_ratio']:.3f} of its tokens/s, "
              f"{a['ttft_median_ms'] / b['ttft_median_ms']:.3f} of its time to first token")
    print(json.dumps(result))


def main():
    try:
        asyncio.run(run(arguments()))
    except (Failure, OSError, ValueError, asyncio.IncompleteReadError) as error:
        sys.exit(f"serve_load: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
