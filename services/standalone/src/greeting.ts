export interface Greeting {
  readonly httpUrls: readonly string[];
  /** Listener name → `host:port`. */
  readonly listeners: ReadonlyMap<string, string>;
  readonly dataDir: string;
  /** Of the administrator, for the lines to paste; only when it was made at this start. */
  readonly password: string | undefined;
}

/** The one time that the first administrator's password is shown. */
export const firstPassword = (password: string): string =>
  `\nThe first administrator was made. Its password is shown this once:\n\n  admin / ${password}\n`;

function listenerLine(name: string, address: string): string {
  const [transport = ''] = name.split(':', 1);
  switch (transport) {
    case 'ssl':
      return `  MQTT/TLS  ${address}`;
    case 'ws':
      return `  MQTT/WS   ws://${address}/mqtt`;
    case 'wss':
      return `  MQTT/WSS  wss://${address}/mqtt`;
    default:
      return `  MQTT      ${address}`;
  }
}

/** What a person sees when the process is ready: addresses, the first password, and lines to paste. */
export function greeting({ httpUrls, listeners, dataDir, password }: Greeting): string {
  const url = httpUrls[0] ?? 'http://localhost:8083';
  const tcp = listeners.get('tcp:default');
  const port = tcp?.slice(tcp.lastIndexOf(':') + 1) ?? '1883';
  const lines = ['', 'Sallyport is ready.', ''];
  lines.push(
    ...httpUrls.map((one) => `  REST      ${one}/api/v1    (OpenAPI: ${one}/api/v1/openapi.json)`),
  );
  for (const [name, address] of listeners) lines.push(listenerLine(name, address));
  lines.push(`  data      ${dataDir}`, '');
  lines.push('A first device:', '');
  lines.push(`  PASSWORD='${password ?? '…'}'`);
  lines.push(
    `  TOKEN=$(curl -s ${url}/api/v1/auth/login -H 'content-type: application/json' \\`,
    `    -d "{\\"username\\":\\"admin\\",\\"password\\":\\"$PASSWORD\\"}" | sed 's/.*"accessToken":"\\([^"]*\\)".*/\\1/')`,
    `  curl -s ${url}/api/v1/credentials -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\`,
    `    -d '{"name":"Pump 7","match":{"username":"pump-7"},"password":"a secret of the pump"}'`,
    `  curl -s '${url}/api/v1/acl/usernames/pump-7/rules?wait=enforced' -H "authorization: Bearer $TOKEN" \\`,
    `    -H 'content-type: application/json' -d '{"effect":"allow","action":"all","topicFilter":"plant/pump-7/#"}'`,
    `  mosquitto_sub -p ${port} -u pump-7 -P 'a secret of the pump' -t 'plant/pump-7/#' -v &`,
    `  mosquitto_pub -p ${port} -u pump-7 -P 'a secret of the pump' -t plant/pump-7/rpm -m 1450`,
    '',
    'Ctrl-C stops it.',
    '',
  );
  return lines.join('\n');
}
