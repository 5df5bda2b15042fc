#!/usr/bin/env node
// The one entry to every command of the README. It has no dependencies: it brings the pinned pnpm, installs and builds
// what changed since the last time, and goes.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const PNPM_VERSION = '10.34.9';
const NODE_MIN = [20, 19];
const root = fileURLToPath(new URL('.', import.meta.url));
const stamps = join(root, 'node_modules', '.sallyport');

/** Programs that the commands need beside Node, and the Debian package that brings each. */
const DEBIAN = {
  'nats-server': 'nats-server',
  'redis-server': 'redis-server',
  haproxy: 'haproxy',
  mosquitto: 'mosquitto',
  mosquitto_pub: 'mosquitto-clients',
  'python3-paho': 'python3-paho-mqtt',
  curl: 'curl',
  openssl: 'openssl',
};

function fail(message) {
  console.error(`sallyport: ${message}`);
  process.exit(1);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
    fail(`Node ${NODE_MIN.join('.')} or newer is needed; this is ${process.versions.node}`);
  }
}

function* files(directory, skip) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (skip.has(entry.name) || entry.name.endsWith('.tsbuildinfo')) continue;
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* files(path, skip);
    else if (entry.isFile()) yield path;
  }
}

function hashOf(paths) {
  const hash = createHash('sha256').update(process.version).update(PNPM_VERSION);
  for (const path of [...paths].sort()) {
    hash
      .update(`${relative(root, path)}\0`)
      .update(readFileSync(path))
      .update('\0');
  }
  return hash.digest('hex');
}

function upToDate(name, hash) {
  const stamp = join(stamps, name);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
}

function stamp(name, hash) {
  mkdirSync(stamps, { recursive: true });
  writeFileSync(join(stamps, name), hash);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const pnpm = (...args) => run('npx', ['-y', `pnpm@${PNPM_VERSION}`, ...args]);
const bin = (name) => join(root, 'node_modules', '.bin', name);

const SKIP = new Set(['node_modules', 'dist', 'generated', '.git', 'data', 'coverage']);

function manifests() {
  const all = [...files(root, SKIP)].filter((path) => path.endsWith('package.json'));
  return [...all, join(root, 'pnpm-lock.yaml'), join(root, 'pnpm-workspace.yaml')];
}

function install() {
  const hash = hashOf(manifests());
  if (upToDate('install', hash) && existsSync(bin('tsc'))) return;
  console.error('sallyport: installing dependencies');
  pnpm('install', '--frozen-lockfile');
  stamp('install', hash);
}

function sources() {
  const trees = ['packages', 'services', 'proto', 'deploy', 'test'].map((name) => join(root, name));
  return [...trees.flatMap((tree) => [...files(tree, SKIP)]), join(root, 'tsconfig.json')].filter(
    (path) => !path.endsWith('.test.ts') && !path.endsWith('.md'),
  );
}

function build() {
  install();
  const hash = hashOf(sources());
  if (upToDate('build', hash) && existsSync(join(root, 'services/standalone/dist/main.js'))) return;
  console.error('sallyport: building');
  run(bin('buf'), ['generate'], { cwd: join(root, 'proto') });
  run(bin('tsc'), ['-b']);
  stamp('build', hash);
}

function installed(program) {
  if (program === 'python3-paho') {
    return (
      spawnSync('/usr/bin/python3', ['-c', 'import paho.mqtt.client'], { stdio: 'ignore' })
        .status === 0
    );
  }
  const path = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
  return path.split(':').some((directory) => existsSync(join(directory, program)));
}

/**
 * `apt-get "$@"` that starts none of the servers it installs: mosquitto would take the port that our own broker listens on.
 * A policy of the machine's own stays as it is.
 */
const WITHOUT_DAEMONS = `
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >"$policy" && chmod 755 "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"`;

/** Installs the Debian packages of `programs` where it may; else says exactly what to install, and fails. */
function debian(programs) {
  const missing = programs
    .filter((program) => !installed(program))
    .map((program) => DEBIAN[program]);
  if (missing.length === 0) return;
  const asRoot = process.getuid?.() === 0;
  const sudo = !asRoot && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
  const apt = spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status === 0;
  if (!apt || !(asRoot || sudo)) {
    fail(
      `these programs are needed: install the packages ${missing.join(' ')} (Debian names) and run this again`,
    );
  }
  console.error(`sallyport: installing ${missing.join(' ')}`);
  const get = (...args) => {
    const command = ['sh', '-c', WITHOUT_DAEMONS, 'apt-get', ...args];
    if (sudo) command.unshift('sudo', '-n');
    run(command[0], command.slice(1), { stdio: ['ignore', 2, 'inherit'] });
  };
  get('update');
  get('install', '-y', '--no-install-recommends', ...missing);
}

/** Runs the process that the command is for, and hands it the signals that we get. */
function become(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128 + 15)));
}

/** `again`: looks only at files that have changed since the last time; for the command that runs between two edits. */
function lint({ again }) {
  const cached = (name) => (again ? ['--cache', '--cache-location', join(stamps, name)] : []);
  run(bin('prettier'), ['--check', '.', '--log-level', 'warn', ...cached('prettier')]);
  run(bin('eslint'), ['.', '--max-warnings', '0', ...cached('eslint')]);
  run(bin('buf'), ['lint'], { cwd: join(root, 'proto') });
  run(bin('buf'), ['breaking', '--against', 'baseline.json'], { cwd: join(root, 'proto') });
  run(bin('tsc'), ['-p', 'tsconfig.tests.json']);
}

const commands = {
  build,
  start(args) {
    build();
    become(process.execPath, ['services/standalone/dist/main.js', ...args]);
  },
  cluster(args) {
    debian(['nats-server', 'redis-server', 'haproxy']);
    build();
    become(process.execPath, ['deploy/local-cluster/dist/main.js', ...args]);
  },
  format() {
    install();
    run(bin('prettier'), ['--write', '.', '--log-level', 'warn']);
  },
  lint() {
    build();
    lint({ again: false });
  },
  check() {
    build();
    lint({ again: true });
    run(bin('vitest'), ['run', '--project', 'unit']);
  },
  test(args) {
    debian(Object.keys(DEBIAN).filter((program) => program !== 'mosquitto')); // Only the benchmark compares.
    build();
    if (args.length === 0) lint({ again: false });
    become(bin('vitest'), ['run', ...args]);
  },
  bench(args) {
    debian(['nats-server', 'redis-server', 'haproxy', 'mosquitto']);
    build();
    become(process.execPath, ['test/bench/dist/bench/src/main.js', ...args]);
  },
  fuzz(args) {
    build();
    become(process.execPath, ['test/fuzz/dist/fuzz/src/main.js', ...args]);
  },
};

checkNode();
const [name, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, name ?? '')) {
  fail(`usage: npm run <command>, one of ${Object.keys(commands).join(', ')}`);
}
commands[name](args);
