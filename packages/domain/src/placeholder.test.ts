import { describe, expect, test } from 'vitest';
import { factsOf, parsePlaceholder } from './placeholder.ts';

describe('a level of a filter', () => {
  test.each([
    ['without one', 'a'],
    ['with a dollar sign', '$SYS'],
    ['with an unknown one', '${password}'],
    ['with an unknown one behind a known one', '${clientid}${password}'],
    ['with one that is not closed', 'd-${clientid'],
    ['with one that is not closed behind a known one', '${clientid}-${'],
    ['with an attribute without a name', '${client_attrs.}'],
    ['with none in the braces', '${}'],
    ['with one inside of another', '${client_attrs.${clientid}}'],
  ])('%s stands for nothing', (_, level) => {
    expect(parsePlaceholder(level)).toBeUndefined();
  });

  test('that is a placeholder stands for the fact', () => {
    expect(parsePlaceholder('${clientid}')).toEqual({ kind: 'clientId' });
    expect(parsePlaceholder('${zone}')).toEqual({ kind: 'zone' });
    expect(parsePlaceholder('${client_attrs.a.b}')).toEqual({ kind: 'attribute', name: 'a.b' });
  });

  test('with placeholders in it stands for all of it, in order', () => {
    const level = parsePlaceholder('d-${clientid}.${username}}');
    const parts = ['d-', { kind: 'clientId' }, '.', { kind: 'username' }, '}'];
    expect(level).toEqual({ kind: 'joined', parts });
    expect(level && factsOf(level)).toEqual([{ kind: 'clientId' }, { kind: 'username' }]);
  });

  test('may hold a dollar sign as such', () => {
    expect(parsePlaceholder('${$}')).toEqual({ kind: 'joined', parts: ['$'] });
    expect(parsePlaceholder('${$}{clientid}')).toEqual({
      kind: 'joined',
      parts: ['$', '{clientid}'],
    });
  });
});
