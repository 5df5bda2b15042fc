import type { CommandExecutor, DecisionModel, EventLog } from '@sallyport/event-log';
import type { PasswordPolicy } from '@sallyport/domain';
import type { NodeCalls, NodeRegistry } from '@sallyport/node-registry';
import type { LoginExplainer, PolicyClient } from '@sallyport/policy-client';
import type { Lists, Snapshot } from '@sallyport/read-model';
import type { SecretBox, SecretHasher } from '@sallyport/secrets';
import type { Logger, OpsHandler } from '@sallyport/telemetry';
import type { IssuingAuthority } from './issuing/issuing-authority.ts';

/** The log folded on this process. Lookups and lists are synchronous, at one revision. */
export interface AdminReadModel extends DecisionModel {
  /** Running hash of the log at `revision`. */
  readonly hash: string;
  readonly lists: Lists;
  /** @throws OperationalError `read_model_unavailable` when too many are open */
  snapshot(): Snapshot;
}

/** What the API tells of itself while it works. */
export interface AdminTelemetry {
  readonly logger: Logger;
  /** Registers the tracing plug-in; it costs a quarter of an empty request. */
  readonly tracing: boolean;
}

/** Everything that the API works with; it opens none of them and closes none of them. */
export interface AdminApiPorts {
  readonly executor: Pick<CommandExecutor, 'execute'>;
  readonly model: AdminReadModel;
  readonly log: EventLog;
  readonly registry: NodeRegistry;
  /** Asks the nodes of the registry. */
  readonly calls: NodeCalls;
  readonly policy: PolicyClient & LoginExplainer;
  readonly secretBox: SecretBox;
  readonly hasher: SecretHasher;
  /** Of passwords that people choose from now on. */
  readonly passwordPolicy: PasswordPolicy;
  /** Signs what strangers ask to be signed; without it they are refused. */
  readonly issuer: IssuingAuthority | undefined;
  readonly telemetry: AdminTelemetry;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Serves the paths of health here too, for a process without an ops address of its own. */
  readonly ops?: OpsHandler;
}
