import { describe, expect, it } from 'vitest';
import { formatHostPort, isListenAddress, parseHostPort, parseListenAddress } from './address.ts';

describe('a listen address', () => {
  it.each([
    '',
    '1883',
    ':1883',
    'host:',
    'host:65536',
    'host:-1',
    'host:123456',
    'ho st:1',
    '-host:1',
    '999.1.1.1:1',
    '::1:1883',
    '[::1]',
    '[127.0.0.1]:1883',
    '[::1:1883',
    'OFF',
    'off:1:2',
    `${'a'.repeat(254)}:1`,
    'tcp://host:1',
  ])('is not %j', (text) => {
    expect(isListenAddress(text)).toBe(false);
    expect(() => parseListenAddress(text)).toThrow();
  });

  it.each([
    ['127.0.0.1:1883', { host: '127.0.0.1', port: 1883 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['[::1]:65535', { host: '::1', port: 65535 }],
    ['broker-1.example:1', { host: 'broker-1.example', port: 1 }],
    [`${'a'.repeat(253)}:1`, { host: 'a'.repeat(253), port: 1 }],
  ])('is %j', (text, address) => {
    expect(parseListenAddress(text)).toEqual(address);
    expect(parseHostPort(text)).toEqual(address);
    expect(formatHostPort(address)).toBe(text);
  });

  it('may be off', () => {
    expect(parseListenAddress('off')).toBe('off');
    expect(parseHostPort('off')).toBeUndefined();
  });
});
