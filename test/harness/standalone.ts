import { randomBytes } from 'node:crypto';
import {
  freePorts,
  NO_CONNECT_RATES,
  removeFolder,
  repositoryPath,
  type ServerProcess,
  type ServiceProcessOptions,
  startProcess,
  tempFolder,
} from '@sallyport/test-kit';

/** All requests of a test come from one operator. */
const REQUESTS_PER_SECOND_MAX = '1000';

export interface Standalone extends AsyncDisposable {
  readonly url: string;
  readonly mqttPort: number;
  readonly wsPort: number;
  readonly dataDir: string;
  readonly adminPassword: string;
  readonly process: ServerProcess;
}

/** The standalone profile as a process of its own, on free ports and a folder that goes away. */
export async function startStandalone(
  env: Record<string, string> = {},
  options: Pick<ServiceProcessOptions, 'onLine' | 'onUnexpectedExit'> & {
    /** Of a disk that the data folder is on. */
    readonly diskBytes?: number;
  } = {},
): Promise<Standalone> {
  const { diskBytes, ...listeners } = options;
  const dataDir = tempFolder('standalone');
  const [http = 0, mqtt = 0, ws = 0] = await freePorts(3);
  const adminPassword = randomBytes(12).toString('hex');
  const server = await startProcess({
    name: 'standalone',
    entry: repositoryPath('services/standalone/dist/main.js'),
    env: {
      SALLYPORT_DATA_DIR: dataDir,
      SALLYPORT_HTTP__LISTEN: `127.0.0.1:${http}`,
      SALLYPORT_MQTT__TCP__LISTEN: `127.0.0.1:${mqtt}`,
      SALLYPORT_MQTT__WS__LISTEN: `127.0.0.1:${ws}`,
      ...NO_CONNECT_RATES,
      SALLYPORT_HTTP__REQUESTS_PER_SECOND_MAX: REQUESTS_PER_SECOND_MAX,
      SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: adminPassword,
      SALLYPORT_BOOTSTRAP__ADMIN_EMAIL: 'sysadmin@example.org',
      ...env,
    },
    ready: { url: `http://127.0.0.1:${http}/readyz` },
    ...listeners,
    ...(diskBytes !== undefined && { disk: { folder: dataDir, bytes: diskBytes } }),
  });
  return {
    url: `http://127.0.0.1:${http}`,
    mqttPort: mqtt,
    wsPort: ws,
    dataDir,
    adminPassword,
    process: server,
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      removeFolder(dataDir);
    },
  };
}
