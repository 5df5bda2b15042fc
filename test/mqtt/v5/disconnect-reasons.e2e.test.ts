import {
  encodeDisconnect5,
  encodeMqtt5Property,
  encodePacket,
  encodePublish5,
  packetTypes,
  PINGREQ,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

it('MQTT-5.0 [MQTT-3.14.4-1] [MQTT-3.14.4-2] closes after the DISCONNECT of a client, without a word, and does nothing with what follows', async () => {
  const topic = unique('t');
  const watcher = await broker.connect();
  await watcher.subscribe(topic);
  const client = await broker.connect();
  client.send(
    Buffer.concat([
      encodeDisconnect5(),
      encodePublish5({ topicName: topic, payload: 'x' }),
      encodePublish5({ topicName: topic, payload: 'x', qos: 1, packetId: 1 }),
      PINGREQ,
    ]),
  );
  expect(await client.ending()).toEqual([]);
  await watcher.silence();
});

it('MQTT-5.0 [MQTT-3.14.2-1] takes every reason that a client may give, and a Reason String and user properties', async () => {
  const properties = { reasonString: 'why', userProperties: [['a', 'b']] as const };
  for (const code of [
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
  ]) {
    for (const more of [undefined, {}, properties]) {
      const client = await broker.connect();
      client.send(encodeDisconnect5(code, more));
      expect(await client.ending(), `0x${code.toString(16)}`).toEqual([]);
    }
  }
});

// mosquitto 2.0.11 checks no more of the reason than that it is there.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.14.2-1] [MQTT-4.13.1-1] answers a reason that is none with DISCONNECT 0x82',
  async () => {
    for (const code of [0x01, 0x02, 0x10, 0x18, 0x84, 0xff]) {
      const client = await broker.connect();
      client.send(encodeDisconnect5(code));
      await expectDisconnect(client, 0x82, `0x${code.toString(16)}`);
    }
  },
);

it('MQTT-5.0 [MQTT-3.14.1-1] [MQTT-2.1.3-1] answers a DISCONNECT with flags with DISCONNECT 0x81', async () => {
  for (const flags of [1, 2, 8, 15]) {
    const client = await broker.connect();
    client.send(encodePacket(packetTypes.disconnect, flags, Buffer.from([0])));
    await expectDisconnect(client, 0x81, String(flags));
  }
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers a DISCONNECT that is not well-formed with DISCONNECT', async () => {
  const reason = encodeMqtt5Property('reasonString', 'x');
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['a property of another packet', encodeDisconnect5(0, { topicAlias: 1 }), 0x81],
    ['Reason String twice', encodeDisconnect5(0, Buffer.concat([reason, reason])), 0x82],
    ['properties that are cut', encodeDisconnect5(0, reason.subarray(0, 3)), 0x81],
    ...strict([
      [
        'bytes after the properties',
        encodePacket(packetTypes.disconnect, 0, Buffer.from([0, 0, 0])),
        0x81,
      ] as const,
    ]),
  ];
  for (const [what, bytes, code] of cases) {
    const client = await broker.connect();
    client.send(bytes);
    await expectDisconnect(client, [code, 0x81, 0x82], what);
  }
});

// mosquitto 2.0.11 sends no DISCONNECT here.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.14.4-1] [MQTT-3.14.4-2] sends nothing behind its own DISCONNECT, and closes',
  async () => {
    const topic = unique('t');
    const clientId = unique('c');
    const first = await broker.connect({ clientId });
    await first.subscribe(topic);
    const publisher = await broker.connect();
    const busy = { running: true };
    const publishing = (async () => {
      while (busy.running) {
        publisher.publish({ topicName: topic, payload: 'x' });
        await publisher.ping();
      }
    })();
    await broker.connect({ clientId });
    const packets = await first.ending();
    busy.running = false;
    await publishing;
    expect(packets.at(-1)).toMatchObject({ type: 'disconnect', reasonCode: 0x8e });
    expect(packets.filter(({ type }) => type === 'disconnect')).toHaveLength(1);
  },
);

it('MQTT-5.0 [MQTT-4.13.1-1] the fault of one client has no consequences for others', async () => {
  const topic = unique('t');
  const other = await broker.connect();
  await other.subscribe(topic);
  const faulty = await broker.connect();
  await faulty.subscribe(topic);
  faulty.send(
    Buffer.concat([
      encodePublish5({ topicName: topic, payload: 'before' }),
      Buffer.from([0xf1, 0]),
    ]),
  );
  await faulty.ending();
  expect((await other.take()).payload.toString()).toBe('before');
  await other.ping();
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.14.2-1] [MQTT-3.14.2-2] says 0x8B to everybody when it is shut down',
  async () => {
    const { client } = await broker.resume(unique('c'));
    const other = await broker.connect();
    await broker.shutDown();
    await expectDisconnect(client, 0x8b);
    await expectDisconnect(other, 0x8b);
  },
);
