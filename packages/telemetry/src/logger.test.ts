import { OperationalError } from '@sallyport/errors';
import { describe, expect, it } from 'vitest';
import { createLogger } from './logger.ts';

function capture() {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'info',
    base: { service: 's' },
    destination: { write: (line) => void lines.push(line) },
  });
  const last = () => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>;
  return { logger, lines, last };
}

describe('the logger', () => {
  it.each([
    'password',
    'adminPassword',
    'ADMIN_PASSWORD',
    'secret',
    'apiSecret',
    'authorization',
    'Proxy-Authorization',
    'token',
    'accessTokens',
    'verifier',
    'cookie',
    'set-cookie',
    'passwordHash',
    'private_key',
  ])('never writes the value of %s, at any depth, in lists and in child bindings', (key) => {
    const { logger, lines } = capture();
    logger.info({ [key]: 'canary' }, 'x');
    logger.info({ a: { b: [{ [key]: { nested: 'canary' } }] } }, 'x');
    logger.child({ [key]: 'canary' }).info('x');
    expect(lines.join('')).not.toContain('canary');
    expect(lines.join('').match(/\[redacted\]/g)).toHaveLength(3);
  });

  it('writes what is not secret, the running hash included', () => {
    const { logger, last } = capture();
    logger.info(
      { clientId: 'pump-7', hash: 'abc', nested: { revision: 7 }, at: new Date(0) },
      'hello',
    );
    expect(last()).toMatchObject({
      level: 'info',
      service: 's',
      msg: 'hello',
      clientId: 'pump-7',
      hash: 'abc',
      nested: { revision: 7 },
      at: '1970-01-01T00:00:00.000Z',
    });
    expect(last()).not.toHaveProperty('trace_id');
  });

  it('writes type, code, message and causes of an error, and nothing that a driver hung on it', () => {
    const { logger, last, lines } = capture();
    const cause = Object.assign(new Error('refused'), { request: { headers: 'canary' } });
    logger.error(
      { err: new OperationalError('log_unavailable', 'no leader', { cause }) },
      'failed',
    );
    expect(last()).toMatchObject({
      level: 'error',
      err: {
        type: 'OperationalError',
        code: 'log_unavailable',
        message: 'no leader',
        cause: { type: 'Error', message: 'refused' },
      },
    });
    expect(lines.join('')).not.toContain('canary');
  });

  it('writes no headers, no query and no foreign object', () => {
    const { logger, last, lines } = capture();
    class Client {
      password = 'canary';
    }
    const headers = { authorization: 'canary' };
    logger.info({ req: { method: 'GET', url: '/x?token=canary', headers }, client: new Client() });
    logger.info({ bytes: Buffer.from('canary') });
    expect(last()).toMatchObject({ bytes: '[Buffer]' });
    expect(lines[0]).toContain('"req":{"method":"GET","url":"/x"}');
    expect(lines[0]).toContain('"client":"[Client]"');
    expect(lines.join('')).not.toContain('canary');
  });

  it('survives cycles and magic keys', () => {
    const { logger, last } = capture();
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    logger.info({ cycle }, 'x');
    expect(JSON.stringify(last())).toContain('[too deep]');
    logger.info(JSON.parse('{"__proto__":{"password":"canary"},"constructor":1}'), 'x');
    expect(JSON.stringify(last())).not.toContain('canary');
    expect(last()['msg']).toBe('x');
  });
});
