import type { Rejection } from '@sallyport/errors';
import type { AclTableEvent } from './acl-table.ts';
import type { ApplyMode } from './apply-mode.ts';
import type { AuthChainEvent } from './auth-chain.ts';
import type { BanEvent } from './ban.ts';
import type { CredentialEvent } from './credential.ts';
import type { DynsecEvent } from './dynsec/object.ts';
import type { ImportEvent } from './import.ts';
import type { GroupEvent } from './group.ts';
import type { GroupRulesEvent } from './group-rules.ts';
import type { IssuedCertificateEvent } from './issued-certificate.ts';
import type { OperatorEvent } from './operator.ts';
import type { RegistrationEvent } from './registration.ts';
import type { RoleEvent } from './role.ts';
import type { SettingEvent } from './setting.ts';
import type { TrustEvent } from './trust.ts';

/** Position of a commit in the log: 1, 2, 3 …; 0 is before the first. A safe integer (decision in the README). */
export type Revision = number;

export type DomainEvent =
  | CredentialEvent
  | AclTableEvent
  | SettingEvent
  | OperatorEvent
  | TrustEvent
  | RoleEvent
  | DynsecEvent
  | BanEvent
  | ImportEvent
  | GroupEvent
  | GroupRulesEvent
  | AuthChainEvent
  | RegistrationEvent
  | IssuedCertificateEvent;

/** Who caused a commit. */
export interface Actor {
  readonly kind: 'operator' | 'api_key' | 'system';
  /** The operator's or key's id; for `system` the name of the part that acted. */
  readonly id: string;
}

/** All events of one command, before the log has given them a revision. */
export interface NewCommit {
  /** Idempotency key: appending it again returns the first revision. 1 to 128 visible ASCII characters. */
  readonly commitId: string;
  /** When the command was taken, in milliseconds since 1970. Data for people, never a clock for machines. */
  readonly at: number;
  readonly actor: Actor;
  readonly reason?: string;
  /** W3C trace context of the request, so that every fold continues its trace. */
  readonly traceparent?: string;
  /** Keyed digest of the request, to tell a retry from the reuse of an idempotency key. */
  readonly fingerprint?: string;
  /** How an administrator wants this one change to reach live sessions, whatever their policies say. Absent: each as its policy says. */
  readonly apply?: ApplyMode;
  readonly events: readonly DomainEvent[];
}

/** One record of the log. */
export interface Commit extends NewCommit {
  readonly revision: Revision;
}

/** When and where an event took place: what `evolve` may know beside the event itself. */
export interface EventContext {
  readonly revision: Revision;
  readonly at: number;
}

/** The domain's answer to a command. */
export type Decided<E> =
  | { readonly ok: true; readonly events: readonly E[] }
  | { readonly ok: false; readonly rejection: Rejection };

export const accept = <E>(...events: readonly E[]): Decided<E> => ({ ok: true, events });

export const reject = (
  code: Rejection['code'],
  more: Omit<Rejection, 'code'> = {},
): { ok: false; rejection: Rejection } => ({ ok: false, rejection: { code, ...more } });
