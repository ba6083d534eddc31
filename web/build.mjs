// Builds the page: bundles it with esbuild, and writes the files, as they are and compressed, into one C++ source.
//
//   node build.mjs OUTPUT.cpp
//
// The source defines cria::server::embedded_web() of src/server/web.h.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));

async function bundled() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { page: 'src/main.tsx', theme: 'src/theme.ts', style: 'src/page.css' },
    bundle: true,
    minify: true,
    format: 'esm',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    target: 'es2022',
    legalComments: 'inline',
    outdir: 'out',
    write: false,
    logLevel: 'warning',
  });
  return (name) => Buffer.from(result.outputFiles.find((file) => file.path.endsWith(`/${name}`)).contents);
}

/// Of the packages whose code is in the bundle.
function licenses(packages) {
  const text = packages.map((name) => `${name}\n\n${readFileSync(join(here, 'node_modules', name, 'LICENSE'), 'utf8')}`);
  return Buffer.from(text.join('\n\n'));
}

function bytes(name, content) {
  const lines = [];
  for (let i = 0; i < content.length; i += 32) lines.push(`    ${[...content.subarray(i, i + 32)].join(',')},`);
  return `constexpr unsigned char ${name}[] = {\n${lines.join('\n')}\n};\n`;
}

const output = await bundled();
const files = [
  ['/', 'text/html; charset=utf-8', readFileSync(join(here, 'index.html'))],
  ['/web/page.js', 'text/javascript; charset=utf-8', output('page.js')],
  ['/web/theme.js', 'text/javascript; charset=utf-8', output('theme.js')],
  ['/web/page.css', 'text/css; charset=utf-8', output('style.css')],
  ['/web/icon.svg', 'image/svg+xml', readFileSync(join(here, 'src/icon.svg'))],
  ['/web/licenses.txt', 'text/plain; charset=utf-8', licenses(['marked', 'preact'])],
];
let arrays = '';
let table = '';
for (const [i, [path, type, plain]] of files.entries()) {
  const hash = createHash('sha256').update(plain).digest('hex').slice(0, 32);
  arrays += bytes(`kPlain${i}`, plain) + bytes(`kGzip${i}`, gzipSync(plain, { level: 9 }));
  table += `    {"${path}", "${type}", "${hash}", kPlain${i}, kGzip${i}},\n`;
}
writeFileSync(process.argv[2], `// Generated from web/ by web/build.mjs. Do not edit.
#include "server/web.h"

namespace cria::server {
namespace {

${arrays}
constexpr WebFile kFiles[] = {
${table}};

}  // namespace

std::span<const WebFile> embedded_web() { return kFiles; }

}  // namespace cria::server
`);
