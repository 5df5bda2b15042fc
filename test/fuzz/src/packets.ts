import { packetTypes } from '@sallyport/test-kit';
import { PacketWriter, type ValidPacket } from './packet-writer.ts';
import { someProperties } from './properties.ts';
import type { Random } from './random.ts';
import { anyFilter, anyText, anyTopic, type Malice } from './texts.ts';

/** Protocol levels: MQTT 3.1, 3.1.1 and 5. */
export type Version = 3 | 4 | 5;

export interface FuzzLogin {
  readonly username: string;
  readonly password: string;
}

/** What packets are made for. */
export interface PacketContext extends Malice {
  readonly version: Version;
  readonly login: FuzzLogin;
}

const AUTH = 15;
/** Few, so that sessions meet their owners again and their number stays bounded. */
const CLIENT_IDS = 24;
const LARGE_BYTES = [2000, 16_383, 16_384, 70_000, 200_000] as const;
/** Past the largest packet that a broker takes by default. */
const TOO_LARGE_BYTES = 1_100_000;

const protocolNames: Readonly<Record<Version, string>> = { 3: 'MQIsdp', 4: 'MQTT', 5: 'MQTT' };

const packetIdOf = (random: Random): number =>
  random.pick([1, 2, 3, random.between(1, 100), 0x7fff, 0xffff]);

function payloadOf(random: Random): Buffer {
  if (random.chance(0.002)) return Buffer.alloc(TOO_LARGE_BYTES);
  if (random.chance(0.02)) return Buffer.alloc(random.pick(LARGE_BYTES), 0x62);
  return random.bytes(random.below(60));
}

/** A CONNECT that logs in. */
export function loginPacket(context: PacketContext): ValidPacket {
  const { random, version, login } = context;
  const cleanStart = random.chance(0.8);
  const flags = 0xc0 | (cleanStart ? 2 : 0);
  const writer = new PacketWriter()
    .field(protocolNames[version])
    .uint8(version)
    .uint8(flags)
    .uint16(random.pick([0, 5, 60, 1200, 65_535]));
  if (version === 5) writer.properties([]);
  writer
    .field(`fuzz-${random.below(CLIENT_IDS)}`)
    .field(login.username)
    .field(login.password);
  return writer.finish('login', packetTypes.connect, 0);
}

interface ConnectParts {
  readonly will: boolean;
  readonly username: boolean;
  readonly password: boolean;
}

function connectFlags({ random }: PacketContext, parts: ConnectParts): number {
  const will = parts.will ? 4 | (random.below(3) << 3) | (random.chance(0.2) ? 0x20 : 0) : 0;
  const login = (parts.username ? 0x80 : 0) | (parts.password ? 0x40 : 0);
  return login | will | (random.chance(0.7) ? 2 : 0);
}

/** A CONNECT of any form. */
function connect(context: PacketContext): ValidPacket {
  const { random, version, login, malice } = context;
  const username = random.chance(0.9);
  const password = (username || version === 5) && random.chance(0.9);
  const parts = { username, password, will: random.chance(0.4) };
  const orAny = (text: string) => (random.chance(1 - 0.4 * malice) ? text : anyText(context));
  const writer = new PacketWriter()
    .field(protocolNames[version])
    .uint8(version)
    .uint8(connectFlags(context, parts))
    .uint16(random.pick([0, 1, 60, 65_535]));
  if (version === 5) writer.properties(someProperties(context, 'connect'));
  writer.field(orAny(`fuzz-${random.below(CLIENT_IDS)}`));
  if (parts.will) {
    if (version === 5) writer.properties(someProperties(context, 'will'));
    writer.field(anyTopic(context, login.username)).field(payloadOf(random).subarray(0, 60_000));
  }
  if (parts.username) writer.field(orAny(login.username));
  if (parts.password) writer.field(orAny(login.password));
  return writer.finish('connect', packetTypes.connect, 0);
}

function publish(context: PacketContext): ValidPacket {
  const { random, version, login } = context;
  const qos = random.pick([0, 0, 1, 1, 2, 2]);
  const flags = (random.chance(0.1) ? 8 : 0) | (qos << 1) | (random.chance(0.1) ? 1 : 0);
  const writer = new PacketWriter().field(anyTopic(context, login.username));
  if (qos > 0) writer.uint16(packetIdOf(random));
  if (version === 5) {
    const alias = random.chance(0.1) ? [Buffer.from([0x23, 0, random.below(20)])] : [];
    writer.properties([...someProperties(context, 'publish'), ...alias]);
  }
  return writer.raw(payloadOf(random)).finish('publish', packetTypes.publish, flags);
}

const ACKNOWLEDGEMENTS = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const;

function acknowledgement(context: PacketContext): ValidPacket {
  const { random, version } = context;
  const name = random.pick(ACKNOWLEDGEMENTS);
  const writer = new PacketWriter().uint16(packetIdOf(random));
  if (version === 5 && random.chance(0.5)) {
    writer.uint8(random.pick([0, 0x10, 0x80, 0x87, 0x92, 0x97]));
    if (random.chance(0.5)) writer.properties(someProperties(context, 'acknowledgement'));
  }
  return writer.finish(name, packetTypes[name], name === 'pubrel' ? 2 : 0);
}

function subscribe(context: PacketContext): ValidPacket {
  const { random, version, login } = context;
  const writer = new PacketWriter().uint16(packetIdOf(random));
  if (version === 5) writer.properties(someProperties(context, 'subscribe'));
  const count = random.chance(0.05) ? random.between(30, 120) : random.between(1, 3);
  for (let index = 0; index < count; index++) {
    const options = version === 5 ? random.pick([0x04, 0x08, 0x10, 0x20, 0x2c, 0]) : 0;
    writer.field(anyFilter(context, login.username)).uint8(random.below(3) | options);
  }
  return writer.finish('subscribe', packetTypes.subscribe, 2);
}

function unsubscribe(context: PacketContext): ValidPacket {
  const { random, version, login } = context;
  const writer = new PacketWriter().uint16(packetIdOf(random));
  if (version === 5) writer.properties(someProperties(context, 'unsubscribe'));
  const count = random.between(1, 3);
  for (let index = 0; index < count; index++) writer.field(anyFilter(context, login.username));
  return writer.finish('unsubscribe', packetTypes.unsubscribe, 2);
}

const ping = (): ValidPacket => new PacketWriter().finish('pingreq', packetTypes.pingreq, 0);

function disconnect(context: PacketContext): ValidPacket {
  const { random, version } = context;
  const writer = new PacketWriter();
  if (version === 5 && random.chance(0.7)) {
    writer.uint8(random.pick([0, 4, 0x80, 0x8e, 0xff]));
    if (random.chance(0.7)) writer.properties(someProperties(context, 'disconnect'));
  }
  return writer.finish('disconnect', packetTypes.disconnect, 0);
}

function auth(context: PacketContext): ValidPacket {
  const { random } = context;
  return new PacketWriter()
    .uint8(random.pick([0, 0x18, 0x19, 0xff]))
    .properties(someProperties(context, 'auth'))
    .finish('auth', AUTH, 0);
}

/** What only a server sends, and the type that nobody does. */
function wrongWay({ random }: PacketContext): ValidPacket {
  const type = random.pick([0, packetTypes.connack, packetTypes.suback, packetTypes.unsuback, 13]);
  return new PacketWriter().uint16(packetIdOf(random)).uint8(0).finish('wrong way', type, 0);
}

type Build = (context: PacketContext) => ValidPacket;

/** Often what has much to get wrong, seldom what has little. */
const ORDINARY: readonly [Build, ...Build[]] = [
  ...([publish, publish, publish, publish] as const),
  ...[acknowledgement, acknowledgement, subscribe, subscribe, unsubscribe, ping],
];

/** After these, as a rule, a connection has ended. */
const LAST: readonly [Build, ...Build[]] = [connect, connect, disconnect, auth, wrongWay];

/** A packet as the standard has it, but for what malice does to its texts and properties. */
export function anyPacket(context: PacketContext): ValidPacket {
  const { random, malice } = context;
  return random.pick(random.chance(0.05 + 0.35 * malice) ? LAST : ORDINARY)(context);
}

/** What a connection begins with, as a rule. */
export const firstPacket = connect;
