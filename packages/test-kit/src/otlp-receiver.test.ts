import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from './otlp-receiver.ts';

let receiver: OtlpReceiver;
beforeEach(async () => {
  receiver = await startOtlpReceiver();
});
afterEach(async () => {
  await receiver.stop();
});

const exported = {
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'policy' } }] },
      scopeSpans: [
        {
          spans: [
            {
              name: 'secret.verify',
              traceId: 'a'.repeat(32),
              spanId: 'b'.repeat(16),
              kind: 1,
              startTimeUnixNano: '1700000000000000000',
              endTimeUnixNano: '1700000000002500000',
              attributes: [{ key: 'policy.revision', value: { intValue: 7 } }],
              status: { code: 2 },
            },
          ],
        },
      ],
    },
  ],
};

const post = (body: string) => fetch(`${receiver.url}/v1/traces`, { method: 'POST', body });

describe('the OTLP receiver', () => {
  it('gives the spans once they hold what is waited for', async () => {
    const waiting = receiver.waitForSpans((spans) =>
      spans.some((span) => span.name === 'secret.verify'),
    );
    expect((await post(JSON.stringify(exported))).status).toBe(200);
    const [span] = await waiting;
    expect(span).toMatchObject({
      service: 'policy',
      traceId: 'a'.repeat(32),
      parentSpanId: '',
      durationMs: 2.5,
      attributes: { 'policy.revision': 7 },
      failed: true,
    });
  });

  it('says what came instead when they do not come', async () => {
    await post(JSON.stringify(exported));
    await expect(receiver.waitForSpans((spans) => spans.length > 1, 20)).rejects.toThrow(
      'policy/secret.verify',
    );
  });
});
