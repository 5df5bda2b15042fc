import { startCluster } from '@sallyport/test-kit';
import { Api } from './api.ts';
import { startStandalone } from './standalone.ts';

export const PROFILES = ['standalone', 'cluster'] as const;

/** A running system of either profile. */
export interface Running extends AsyncDisposable {
  readonly api: Api;
  readonly httpUrl: string;
  /** TCP ports of all nodes. */
  readonly mqttPorts: readonly number[];
  readonly wsPort: number;
  /** Of what speaks MQTT: where its metrics are, in the order of the ports. */
  readonly opsUrls: readonly string[];
  /** Log lines of what speaks MQTT, so far. */
  readonly logLines: () => readonly string[];
}

/** Everything that is tested on one profile is tested on the other. */
export async function startProfile(
  profile: (typeof PROFILES)[number],
  /** More environment of what speaks MQTT. */
  env: Record<string, string> = {},
): Promise<Running> {
  if (profile === 'standalone') {
    const one = await startStandalone(env);
    return {
      api: await Api.login(one.url, 'admin', one.adminPassword),
      httpUrl: one.url,
      mqttPorts: [one.mqttPort],
      wsPort: one.wsPort,
      opsUrls: [one.url],
      logLines: () => one.process.lines,
      [Symbol.asyncDispose]: () => one[Symbol.asyncDispose](),
    };
  }
  const cluster = await startCluster({ env: { broker: env } });
  return {
    api: await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password),
    httpUrl: cluster.httpUrl,
    mqttPorts: cluster.brokers.map((broker) => broker.mqttPort),
    wsPort: cluster.wsPort,
    opsUrls: cluster.brokers.map((broker) => broker.opsUrl),
    logLines: () => cluster.brokers.flatMap((broker) => broker.process.lines),
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}
