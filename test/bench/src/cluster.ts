import { type Cluster, startCluster } from '@sallyport/test-kit';
import { figure, heading, percentile } from './report.ts';

const CHANGES = 500;
const REST_COMMITS = 3_000;
const REST_CALLERS = 32;

/** What an administrator waits for, on three nodes. */
export async function benchCluster(): Promise<void> {
  heading('the cluster: 2 admin-api, 2 policy, 3 brokers, all on this machine');
  const cluster = await startCluster({
    env: { 'admin-api': { SALLYPORT_HTTP__REQUESTS_PER_SECOND_MAX: '100000' } },
  });
  try {
    await benchRest(cluster);
    await benchEnforced(cluster);
  } finally {
    await cluster.stop();
  }
}

async function put(cluster: Cluster, name: string, query: string, allow: boolean) {
  const { key, secret } = cluster.apiKey;
  const url = cluster.adminUrls[0] ?? cluster.httpUrl;
  const response = await fetch(`${url}/api/v1/acl/clients/${name}${query}`, {
    method: 'PUT',
    headers: {
      authorization: `Basic ${Buffer.from(`${key}:${secret}`).toString('base64')}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      rules: [{ effect: allow ? 'allow' : 'deny', action: 'all', topicFilter: 'plant/#' }],
    }),
  });
  await response.arrayBuffer();
  if (response.status >= 300 || response.status === 202) {
    throw new Error(`PUT answered ${response.status}`);
  }
  return response;
}

async function benchRest(cluster: Cluster): Promise<void> {
  let next = 0;
  const started = performance.now();
  const caller = async (): Promise<void> => {
    while (next < REST_COMMITS) {
      const index = next++;
      await put(cluster, `client-${index % 500}`, '', index % 2 === 0);
    }
  };
  await Promise.all(Array.from({ length: REST_CALLERS }, caller));
  const seconds = (performance.now() - started) / 1000;
  figure(`REST writes, ${REST_CALLERS} callers, one replica`, REST_COMMITS / seconds, 'commits/s');
}

async function benchEnforced(cluster: Cluster): Promise<void> {
  const plain: number[] = [];
  const enforced: number[] = [];
  for (let index = 0; index < CHANGES; index++) {
    let started = performance.now();
    await put(cluster, 'plain', '', index % 2 === 0);
    plain.push(performance.now() - started);
    started = performance.now();
    await put(cluster, 'waited', '?wait=enforced', index % 2 === 0);
    enforced.push(performance.now() - started);
  }
  for (const share of [0.5, 0.99]) {
    const name = `p${share * 100} of ${CHANGES}`;
    figure(`write answered, ${name}`, percentile(plain, share), 'ms');
    figure(`write enforced on three nodes, ${name}`, percentile(enforced, share), 'ms');
    const difference = percentile(enforced, share) - percentile(plain, share);
    figure(`from answered to enforced, ${name}`, difference, 'ms');
  }
}
