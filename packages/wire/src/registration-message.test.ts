import { REGISTRATION_ATTEMPTS_MAX, type RegistrationAttempt } from '@sallyport/domain';
import { describe, expect, it } from 'vitest';
import {
  decodeRegistrations,
  encodeRegistrations,
  REGISTRATION_MESSAGE_BYTES_MAX,
} from './registration-message.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const attempt: RegistrationAttempt = {
  ...{ id: 'q1', username: 'agent-7', verifier: 's1.sealed', origin: 'mqtt', count: 2 },
  ...{ address: '192.0.2.1', clientId: 'c' },
};
const saying = (list: unknown): Uint8Array => bytes(JSON.stringify({ v: 1, attempts: list }));

describe('the message about registrations', () => {
  it.each([
    ['nothing', ''],
    ['no object', '[]'],
    ['another version', '{"v":2,"attempts":[]}'],
    ['no list', '{"v":1,"attempts":{}}'],
    ['the list of another message', '{"v":1,"secrets":[]}'],
  ])('is not understood when it is %s', (_, text) => {
    expect(decodeRegistrations(bytes(text))).toBeUndefined();
  });

  it.each([
    [null],
    [{ ...attempt, id: '' }],
    [{ ...attempt, id: 'x'.repeat(65) }],
    [{ ...attempt, username: 7 }],
    [{ ...attempt, username: 'x'.repeat(257) }],
    [{ ...attempt, verifier: 'x'.repeat(1025) }],
    [{ ...attempt, count: 0 }],
    [{ ...attempt, count: 1.5 }],
    [{ ...attempt, count: 1_000_001 }],
    [{ ...attempt, address: 'x'.repeat(65) }],
    [{ ...attempt, address: null }],
    [{ ...attempt, clientId: {} }],
  ])('is not understood with %j, however good the rest is', (one) => {
    expect(decodeRegistrations(saying([attempt, one]))).toBeUndefined();
  });

  it('has its most attempts, and its most bytes', () => {
    const most = Array.from({ length: REGISTRATION_ATTEMPTS_MAX }, () => attempt);
    expect(decodeRegistrations(saying(most))).toHaveLength(REGISTRATION_ATTEMPTS_MAX);
    expect(decodeRegistrations(saying([...most, attempt]))).toBeUndefined();
    const padded = (length: number) => bytes(encodeRegistrations([attempt]).padEnd(length));
    expect(decodeRegistrations(padded(REGISTRATION_MESSAGE_BYTES_MAX))).toHaveLength(1);
    expect(decodeRegistrations(padded(REGISTRATION_MESSAGE_BYTES_MAX + 1))).toBeUndefined();
  });

  it('says what it was told, and nothing that only the API may say', () => {
    const told = { ...attempt, asked: { roles: ['admin'] }, origin: 'http' } as const;
    expect(decodeRegistrations(bytes(encodeRegistrations([told])))).toEqual([attempt]);
    const { address: _address, clientId: _clientId, ...least } = attempt;
    expect(decodeRegistrations(saying([least]))).toEqual([least]);
  });
});
