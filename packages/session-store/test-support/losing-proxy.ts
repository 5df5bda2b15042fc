import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands before Redis, and can lose answers: what was asked is done, and the connection breaks before the answer comes. */
export class LosingProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #loseNext = false;

  private constructor(server: ReturnType<typeof createServer>, target: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port; // It listens on TCP.
    server.on('connection', (client) => this.#join(client, connect(target, '127.0.0.1')));
  }

  static async start(target: number): Promise<LosingProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new LosingProxy(server, target);
  }

  /** The next answer is lost, and the connection with it. */
  loseNextAnswer(): void {
    this.#loseNext = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #join(client: Socket, redis: Socket): void {
    const end = (): void => {
      client.destroy();
      redis.destroy();
    };
    for (const socket of [client, redis]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    client.on('data', (chunk) => redis.write(chunk));
    redis.on('data', (chunk) => {
      if (!this.#loseNext) {
        client.write(chunk);
        return;
      }
      this.#loseNext = false;
      end();
    });
  }
}
