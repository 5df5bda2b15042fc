import { OperationalError } from '@sallyport/errors';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runMain } from './run-main.ts';

let printed: unknown[];

beforeEach(() => {
  printed = [];
  vi.spyOn(console, 'error').mockImplementation((text: unknown) => void printed.push(text));
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw new Error(`exit ${code}`);
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe('runMain', () => {
  it('tells what is wrong and why in plain lines, and exits with 1', async () => {
    const cause = new Error('listen EADDRINUSE: address already in use 127.0.0.1:1883');
    const failed = new OperationalError('config_invalid', 'tcp:default cannot listen', { cause });
    await expect(runMain(() => Promise.reject(failed))).rejects.toThrow('exit 1');
    expect(printed).toEqual([
      'sallyport: tcp:default cannot listen\n  because: listen EADDRINUSE: address already in use 127.0.0.1:1883',
    ]);
  });

  it('shows the stack of a bug', async () => {
    const bug = new TypeError('x is not a function');
    await expect(runMain(() => Promise.reject(bug))).rejects.toThrow('exit 1');
    expect(printed).toEqual([bug]);
  });

  it('does nothing when the start succeeds', async () => {
    await runMain(() => Promise.resolve());
    expect(printed).toEqual([]);
  });
});
