import { OperationalError } from '@sallyport/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ANSWER_BYTES_MAX, type NodeCalls, QUESTION_BYTES_MAX } from '../src/node-calls.ts';

/** Calls under test, and nobody who answers. */
export interface NodeCallsUnderTest extends AsyncDisposable {
  /** As a node has them. */
  readonly node: NodeCalls;
  /** As another process has them, to ask. */
  readonly asker: NodeCalls;
}

const TIMEOUT_MS = 2000;

/** What calls to nodes have to do. Runs inside of vitest. */
export function describeNodeCallsContract(
  name: string,
  start: () => Promise<NodeCallsUnderTest>,
): void {
  describe(`${name} keep the contract of calls to nodes:`, () => {
    let underTest: NodeCallsUnderTest;
    const ask = (nodeId: string, question: unknown = 'q'): Promise<unknown> =>
      underTest.asker.ask(nodeId, question, TIMEOUT_MS);

    beforeEach(async () => {
      underTest = await start();
    });
    afterEach(() => underTest[Symbol.asyncDispose]());

    it('tell soon that nobody answers for a node', async () => {
      const started = performance.now();
      await expect(ask('nobody')).rejects.toMatchObject({ code: 'node_silent' });
      expect(performance.now() - started).toBeLessThan(TIMEOUT_MS);
    });

    it('bring a question to the node that it is for, and its answer back', async () => {
      for (const nodeId of ['a', 'b', 'ü.*>/ =x', '__proto__']) {
        await underTest.node.serve(nodeId, (question) => ({ nodeId, question }));
      }
      for (const nodeId of ['a', 'b', 'ü.*>/ =x', '__proto__']) {
        const question = { text: 'ü\u2028', list: [1, null] };
        expect(await ask(nodeId, question)).toEqual({ nodeId, question });
      }
      await expect(ask('*')).rejects.toMatchObject({ code: 'node_silent' });
      await expect(ask('constructor')).rejects.toMatchObject({ code: 'node_silent' });
    });

    it('bring back what is answered later, refused later, and in another order', async () => {
      const given: (() => void)[] = [];
      await underTest.node.serve('a', async (question) => {
        await new Promise<void>((resolve) => given.push(resolve));
        if (question === 'bad') throw new OperationalError('invalid_request', 'not that');
        return question;
      });
      const asked = ['first', 'bad', 'last'].map((one) => ask('a', one));
      const settled = Promise.allSettled(asked);
      while (given.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
      for (const give of given.reverse()) give();
      expect(await settled).toMatchObject([
        { status: 'fulfilled', value: 'first' },
        { status: 'rejected', reason: { code: 'invalid_request' } },
        { status: 'fulfilled', value: 'last' },
      ]);
    });

    it('keep many questions apart', async () => {
      await underTest.node.serve('a', (question) => question);
      const questions = Array.from({ length: 200 }, (_, index) => index);
      expect(await Promise.all(questions.map((one) => ask('a', one)))).toEqual(questions);
    });

    it('tell of a refusal by its code, and of a failure nothing', async () => {
      await underTest.node.serve('a', (question) => {
        if (question === 'bad') throw new OperationalError('invalid_request', 'not that');
        throw new Error('a secret of the driver');
      });
      await expect(ask('a', 'bad')).rejects.toMatchObject({ code: 'invalid_request' });
      const failed = ask('a', 'worse');
      await expect(failed).rejects.toMatchObject({ code: 'internal' });
      await expect(failed).rejects.not.toThrow(/secret/);
    });

    it('take a question up to its size, and none that is larger', async () => {
      await underTest.node.serve('a', (question) => (question as string).length);
      const most = QUESTION_BYTES_MAX - 2;
      expect(await ask('a', 'x'.repeat(most))).toBe(most);
      await expect(ask('a', 'x'.repeat(most + 1))).rejects.toMatchObject({
        code: 'invalid_request',
      });
    });

    it('bring a large answer back, and none that is too large', async () => {
      await underTest.node.serve('a', (question) => 'x'.repeat(question as number));
      const most = ANSWER_BYTES_MAX - '{"answer":""}'.length;
      expect(await ask('a', most)).toHaveLength(most);
      await expect(ask('a', most + 1)).rejects.toMatchObject({ code: 'invalid_request' });
    });

    it('end for a node when what serves it is disposed', async () => {
      const served = await underTest.node.serve('a', () => 'here');
      expect(await ask('a')).toBe('here');
      await served[Symbol.asyncDispose]();
      await expect(ask('a')).rejects.toMatchObject({ code: 'node_silent' });
    });
  });
}
