import type { BanKind, BanRule } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type WireBan, WireBanKind, type WireListBansResponse } from '@sallyport/wire';
import type { BansAnswer } from './policy-client.ts';

const kinds: Readonly<Record<BanKind, WireBanKind>> = {
  client_id: WireBanKind.BAN_KIND_CLIENT_ID,
  username: WireBanKind.BAN_KIND_USERNAME,
  address: WireBanKind.BAN_KIND_ADDRESS,
  cidr: WireBanKind.BAN_KIND_CIDR,
  client_id_pattern: WireBanKind.BAN_KIND_CLIENT_ID_PATTERN,
  username_pattern: WireBanKind.BAN_KIND_USERNAME_PATTERN,
  address_pattern: WireBanKind.BAN_KIND_ADDRESS_PATTERN,
};

const kindsByWire = new Map(Object.entries(kinds).map(([kind, wire]) => [wire, kind as BanKind])); // The keys of `kinds`.

export function bansAnswerToWire({ revision, bans }: BansAnswer): WireListBansResponse {
  return {
    revision,
    bans: bans.map(({ id, kind, value, until }) => ({ id, kind: kinds[kind], value, until })),
  };
}

/** @throws OperationalError `invalid_request` for a kind that this version does not know: it would let somebody in */
export function bansAnswerFromWire({ revision, bans }: WireListBansResponse): BansAnswer {
  return { revision, bans: bans.map(banFromWire) };
}

function banFromWire({ id, kind: wire, value, until }: WireBan): BanRule {
  const kind = kindsByWire.get(wire);
  if (kind === undefined) throw new OperationalError('invalid_request', `ban kind ${wire}`);
  return { id, kind, value, ...(until !== undefined && { until }) };
}
