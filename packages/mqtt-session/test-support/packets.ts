import fc from 'fast-check';
import type {
  ClientPacket,
  Properties,
  ProtocolVersion,
  Qos,
  ServerPacket,
  SubscriptionRequest,
  UserProperty,
} from '../src/codec/packet.ts';

/** Text that a client may send, ASCII and not, the byte order mark and characters of four bytes included. */
const character = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...'abcXYZ019 -_.$'.split('')) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('ü', 'ß', '€', '漢', '\ufeff', '😀', '\u{10fffd}', '\u07ff'),
  },
);
const text = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.array(character, { minLength, maxLength }).map((all) => all.join(''));

const topic = fc
  .array(text(0, 6), { minLength: 1, maxLength: 6 })
  .map((levels) => levels.join('/'))
  .filter((name) => name !== '');
const topicFilter = fc.oneof(
  topic,
  topic.map((name) => `${name}/#`),
  topic.map((name) => `+/${name}`),
  topic.map((name) => `$share/group/${name}`),
);
const binary = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const bit = fc.constantFrom<(0 | 1)[]>(0, 1);
const qos = fc.constantFrom<Qos[]>(0, 1, 2);
const seconds = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constant(0xffff_ffff));
const packetId = fc.integer({ min: 1, max: 0xffff });
const uint16 = fc.integer({ min: 0, max: 0xffff });
const positiveUint16 = fc.integer({ min: 1, max: 0xffff });
const varint = fc.oneof(
  fc.integer({ min: 1, max: 0x0fff_ffff }),
  fc.constantFrom(1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 0x0fff_ffff),
);

/** With names apart and not integers: the oracle keeps them as keys of an object. */
const userProperties: fc.Arbitrary<UserProperty[]> = fc
  .uniqueArray(text(1, 4), { minLength: 1, maxLength: 4 })
  .chain((names) =>
    fc.tuple(...names.map((name) => text(0, 6).map((value): UserProperty => [`n${name}`, value]))),
  );

type Arbitraries = { readonly [Name in keyof Properties]: fc.Arbitrary<Properties[Name]> };

const aboutMessages = {
  payloadFormatIndicator: bit,
  messageExpiryInterval: seconds,
  contentType: text(0, 8),
  responseTopic: topic,
  correlationData: binary(8),
  userProperties,
} as const;
const reasons = { reasonString: text(0, 60), userProperties } as const;

/** Some of these properties, at least one; undefined before MQTT 5. */
function someOf(
  version: ProtocolVersion,
  arbitraries: Arbitraries,
): fc.Arbitrary<{ properties?: Properties }> {
  if (version !== 5) return fc.constant({});
  return fc
    .record(arbitraries as Record<string, fc.Arbitrary<unknown>>, { requiredKeys: [] })
    .map((properties) => (Object.keys(properties).length === 0 ? {} : { properties }));
}

function willOf(version: ProtocolVersion): fc.Arbitrary<object> {
  const will = fc
    .tuple(
      fc.record({ topic, payload: binary(20), qos, retain: fc.boolean() }),
      someOf(version, { ...aboutMessages, willDelayInterval: seconds }),
    )
    .map(([fields, properties]) => ({ will: { ...fields, ...properties } }));
  return fc.oneof(fc.constant({}), will);
}

export function connectPacket(version: ProtocolVersion): fc.Arbitrary<ClientPacket> {
  const credentials = fc.oneof(
    fc.constant({}),
    fc.record({ username: text(1, 10) }),
    fc.record({ username: text(1, 10), password: binary(20) }),
  );
  const properties = someOf(version, {
    sessionExpiryInterval: seconds,
    receiveMaximum: positiveUint16,
    maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
    topicAliasMaximum: uint16,
    requestResponseInformation: bit,
    requestProblemInformation: bit,
    authenticationMethod: text(1, 8),
    userProperties,
  });
  return fc
    .tuple(
      fc.record({ cleanStart: fc.boolean(), keepAliveSeconds: uint16, clientId: text(1, 30) }),
      willOf(version),
      credentials,
      properties,
    )
    .map((parts): ClientPacket => Object.assign({ type: 'connect' as const, version }, ...parts));
}

const publishPacket = (version: ProtocolVersion, extra: Arbitraries): fc.Arbitrary<ClientPacket> =>
  fc
    .tuple(
      fc.record({ topic, payload: binary(200), qos, dup: fc.boolean(), retain: fc.boolean() }),
      packetId,
      someOf(version, { ...aboutMessages, topicAlias: positiveUint16, ...extra }),
    )
    .map(([fields, id, { properties }]) => ({
      type: 'publish',
      ...fields,
      dup: fields.dup && fields.qos > 0,
      packetId: fields.qos === 0 ? 0 : id,
      properties,
    }));

const ackTypes = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const;

const ackPacket = (
  version: ProtocolVersion,
  received: readonly number[],
): fc.Arbitrary<ClientPacket & ServerPacket> =>
  fc
    .tuple(fc.constantFrom(...ackTypes), packetId, fc.nat(), someOf(version, reasons))
    .map(([type, id, pick, properties]) => {
      const codes = type === 'puback' || type === 'pubrec' ? received : [0, 0x92];
      const code = version === 5 ? (codes[pick % codes.length] ?? 0) : 0;
      return { type, packetId: id, code, ...properties };
    });

const subscription = (version: ProtocolVersion): fc.Arbitrary<SubscriptionRequest> =>
  fc
    .record({
      topicFilter,
      qos,
      noLocal: fc.boolean(),
      retainAsPublished: fc.boolean(),
      retainHandling: fc.constantFrom<(0 | 1 | 2)[]>(0, 1, 2),
    })
    .map((one) => {
      if (version !== 5)
        return { ...one, noLocal: false, retainAsPublished: false, retainHandling: 0 };
      return { ...one, noLocal: one.noLocal && !one.topicFilter.startsWith('$share/') };
    });

const authPacket = (...codes: number[]): fc.Arbitrary<ClientPacket & ServerPacket> =>
  fc
    .tuple(
      fc.constantFrom(...codes),
      text(1, 8),
      fc.record({ authenticationData: binary(8), ...reasons }, { requiredKeys: [] }),
    )
    .map(([code, authenticationMethod, rest]) => ({
      type: 'auth',
      code,
      properties: { authenticationMethod, ...rest },
    }));

/** What a client may send behind its CONNECT. */
export function clientPacket(version: ProtocolVersion): fc.Arbitrary<ClientPacket> {
  const common: fc.Arbitrary<ClientPacket>[] = [
    publishPacket(version, {}),
    ackPacket(version, [0, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    fc
      .tuple(
        packetId,
        fc.array(subscription(version), { minLength: 1, maxLength: 5 }),
        someOf(version, { subscriptionIdentifiers: varint.map((id) => [id]), userProperties }),
      )
      .map(([id, subscriptions, properties]) => ({
        type: 'subscribe',
        packetId: id,
        subscriptions,
        ...properties,
      })),
    fc
      .tuple(
        packetId,
        fc.array(topicFilter, { minLength: 1, maxLength: 5 }),
        someOf(version, { userProperties }),
      )
      .map(([id, topicFilters, properties]) => ({
        type: 'unsubscribe',
        packetId: id,
        topicFilters,
        ...properties,
      })),
    fc.constant({ type: 'pingreq' }),
    fc
      .tuple(
        fc.constantFrom(
          0,
          4,
          0x80,
          0x81,
          0x82,
          0x83,
          0x90,
          0x93,
          0x94,
          0x95,
          0x96,
          0x97,
          0x98,
          0x99,
        ),
        someOf(version, { ...reasons, sessionExpiryInterval: seconds }),
      )
      .map(([code, properties]) => ({
        type: 'disconnect',
        code: version === 5 ? code : 0,
        ...properties,
      })),
  ];
  return version === 5 ? fc.oneof(...common, authPacket(0x18, 0x19)) : fc.oneof(...common);
}

const serverCodes = {
  connack: [0, 0x80, 0x81, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x95, 0x97, 0x9c, 0x9f],
  suback: [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
  unsuback: [0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
  disconnect: [0, 0x80, 0x81, 0x82, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x93, 0x95, 0x98, 0x9c, 0xa0],
} as const;

function connackPacket(version: ProtocolVersion): fc.Arbitrary<ServerPacket> {
  const codes = version === 5 ? serverCodes.connack : [0, 1, 2, 3, 4, 5];
  const properties = someOf(version, {
    ...reasons,
    sessionExpiryInterval: seconds,
    receiveMaximum: positiveUint16,
    maximumQos: bit,
    retainAvailable: bit,
    maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
    assignedClientIdentifier: text(1, 20),
    topicAliasMaximum: uint16,
    wildcardSubscriptionAvailable: bit,
    subscriptionIdentifierAvailable: bit,
    sharedSubscriptionAvailable: bit,
    serverKeepAlive: uint16,
    responseInformation: text(1, 8),
    serverReference: text(1, 8),
    authenticationMethod: text(1, 8),
    authenticationData: binary(8),
  });
  return fc
    .tuple(fc.constantFrom(...codes), fc.boolean(), properties)
    .map(([code, present, rest]) => ({
      type: 'connack',
      sessionPresent: present && code === 0 && version !== 3,
      code,
      ...rest,
    }));
}

/** What the server may send. */
export function serverPacket(version: ProtocolVersion): fc.Arbitrary<ServerPacket> {
  const grants = version === 5 ? serverCodes.suback : [0, 1, 2, 0x80];
  const all: fc.Arbitrary<ServerPacket>[] = [
    connackPacket(version),
    publishPacket(version, {
      subscriptionIdentifiers: fc.uniqueArray(varint, { minLength: 1, maxLength: 4 }),
    }).map((packet) => packet as ServerPacket), // A PUBLISH is the same in both directions.
    ackPacket(version, [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    fc
      .tuple(
        packetId,
        fc.array(fc.constantFrom(...grants), { minLength: 1, maxLength: 6 }),
        someOf(version, reasons),
      )
      .map(([id, codes, rest]) => ({ type: 'suback', packetId: id, codes, ...rest })),
    fc
      .tuple(
        packetId,
        fc.array(fc.constantFrom(...serverCodes.unsuback), { minLength: 1, maxLength: 6 }),
        someOf(version, reasons),
      )
      .map(([id, codes, rest]) => ({
        type: 'unsuback',
        packetId: id,
        codes: version === 5 ? codes : [],
        ...rest,
      })),
    fc.constant({ type: 'pingresp' }),
  ];
  if (version === 5) {
    all.push(
      authPacket(0, 0x18),
      fc
        .tuple(
          fc.constantFrom(...serverCodes.disconnect),
          someOf(version, { ...reasons, serverReference: text(1, 8) }),
        )
        .map(([code, rest]) => ({ type: 'disconnect', code, ...rest })),
    );
  }
  return fc.oneof(...all);
}
