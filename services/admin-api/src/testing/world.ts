import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_PASSWORD_POLICY, type OperatorRole, type PasswordPolicy } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { CommandExecutor, MemoryEventLog } from '@sallyport/event-log';

import { LocalNodeCalls, MemoryNodeRegistry } from '@sallyport/node-registry';
import { ReadModel } from '@sallyport/read-model';
import { SecretBox, SecretHasher } from '@sallyport/secrets';
import { createLogger } from '@sallyport/telemetry';
import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import { bootstrap } from '../bootstrap.ts';
import type { HttpConfig } from '../config.ts';
import type { IssuingAuthority } from '../issuing/issuing-authority.ts';
import { type AdminApi, createAdminApi } from '../service.ts';
import { Conformance } from './conformance.ts';
import { RulesPolicyClient } from './rules-policy-client.ts';

export const ADMIN_PASSWORD = 'canary-admin-password';
export const ADMIN_EMAIL = 'admin@example.org';
export const API_KEY = 'tests';
export const API_SECRET = 'canary-api-secret-of-the-tests';

export const HTTP: HttpConfig = {
  listen: ['127.0.0.1:0'],
  trustedProxies: [],
  requestsPerSecondMax: 10_000,
  loginFailuresMax: 5,
  loginWindowSeconds: 300,
  loginLockSeconds: 600,
  importRowsMax: 100_000,
  importBytesMax: 20 * 1024 * 1024,
};

/** A list whose first entries may be looked at without asking. */
type AtLeast<T> = readonly [T, T, ...(readonly T[])];

/** Members of all answers together; what an answer really has is for the tests to say. */
export interface AnswerBody {
  readonly accessToken: string;
  readonly access: object;
  readonly allowed: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly code: string;
  readonly components: { readonly securitySchemes: object };
  readonly createdTime: number;
  readonly credentialsId: string;
  readonly credentialsValue: string;
  readonly errors: AtLeast<{ readonly pointer: string; readonly detail: string }>;
  readonly event: { readonly revision: number };
  readonly id: string;
  readonly imported: string;
  readonly importedSecrets: Readonly<Record<string, number>>;
  readonly instance: string;
  readonly items: readonly AnswerBody[];
  readonly match: object;
  readonly name: string;
  readonly openapi: string;
  readonly opinions: readonly { readonly verdict: string }[];
  readonly position: number;
  readonly refreshToken: string;
  readonly result: AnswerBody;
  readonly revision: number;
  readonly permissions: AtLeast<{ readonly id: string; readonly resource: string }>;
  readonly role: string;
  readonly rules: AtLeast<{ readonly ruleId: string; readonly topicFilter: string }>;
  readonly scram: readonly string[];
  readonly secret: string;
  readonly serverKeyStored: boolean;
  readonly secrets: AtLeast<{ readonly secretId: string }>;
  readonly target: { readonly kind: string; readonly name?: string };
  readonly timestamp: string;
  readonly token: string;
  readonly validity: object;
  readonly sessionsMax: number;
}

export interface Answered {
  readonly status: number;
  readonly headers: LightMyRequestResponse['headers'];
  readonly text: string;
  /** The parsed body; undefined when there is none, which a test finds out by looking at it. */
  readonly body: AnswerBody;
}

/** A whole control plane in one process. Every answer is compared with the OpenAPI document. */
export class World implements AsyncDisposable {
  readonly log: MemoryEventLog;
  readonly box: SecretBox;
  readonly hasher: SecretHasher;
  readonly registry: MemoryNodeRegistry;
  readonly calls: LocalNodeCalls;
  readonly logLines: string[] = [];
  readonly answers: string[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'admin-api-'));
  model!: ReadModel;
  executor!: CommandExecutor;
  policy!: RulesPolicyClient;
  api!: AdminApi;
  conformance!: Conformance;
  now = 1_700_000_000_000;

  private constructor(shared?: World) {
    this.log = shared?.log ?? new MemoryEventLog();
    this.box = shared?.box ?? new SecretBox(randomBytes(32));
    this.hasher = shared?.hasher ?? new SecretHasher(this.box);
    this.registry = shared?.registry ?? new MemoryNodeRegistry();
    this.calls = shared?.calls ?? new LocalNodeCalls();
  }

  /** `replicaOf` opens a second process on the same log. */
  static async open(
    options: {
      readonly http?: Partial<HttpConfig>;
      readonly passwordPolicy?: Partial<PasswordPolicy>;
      readonly issuer?: IssuingAuthority;
      readonly replicaOf?: World;
    } = {},
  ): Promise<World> {
    const world = new World(options.replicaOf);
    world.model = await ReadModel.open({
      path: join(world.#folder, 'read-model.sqlite'),
      log: world.log,
      onFailure: () => undefined,
    });
    const { log, model, registry, calls } = world;
    world.executor = new CommandExecutor({ log, model });
    const clock = () => world.now;
    const { executor, hasher, box: secretBox } = world;
    const passwordPolicy = { ...DEFAULT_PASSWORD_POLICY, ...options.passwordPolicy };
    const secrets = { hasher, secretBox, passwordPolicy };
    const { issuer } = options;
    await bootstrap(
      {
        adminPassword: ADMIN_PASSWORD,
        adminEmail: ADMIN_EMAIL,
        apiKey: API_KEY,
        apiSecret: API_SECRET,
      },
      { executor, model, ...secrets, clock },
    );
    const logger = createLogger({
      level: 'trace',
      destination: { write: (line: string) => world.logLines.push(line) },
    });
    const policy = new RulesPolicyClient(model);
    world.policy = policy;
    const telemetry = { logger, tracing: false };
    world.api = await createAdminApi(
      { http: { ...HTTP, ...options.http } },
      { executor, model, log, registry, calls, policy, ...secrets, issuer, telemetry, clock },
    );
    world.conformance = new Conformance(world.api.app.swagger());
    return world;
  }

  async request(options: InjectOptions & { readonly url: string }): Promise<Answered> {
    const answer = await this.api.app.inject(options);
    this.answers.push(JSON.stringify(answer.headers), answer.payload);
    const type = String(answer.headers['content-type'] ?? '');
    const body: unknown =
      /[/+]json/.test(type) && answer.payload !== '' ? JSON.parse(answer.payload) : undefined;
    const { method = 'GET', url } = options;
    const told = type.startsWith('application/x-ndjson')
      ? answer.payload
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as unknown)
      : [/^text|yaml|pem-file/.test(type) ? answer.payload : body];
    for (const one of told) {
      this.conformance.check({ method, url, status: answer.statusCode, type, body: one });
    }
    return {
      status: answer.statusCode,
      headers: answer.headers,
      text: answer.payload,
      body: body as AnswerBody,
    };
  }

  async login(username = 'admin', password = ADMIN_PASSWORD): Promise<Client> {
    const payload = { username, password };
    const answer = await this.request({ method: 'POST', url: '/api/v1/auth/login', payload });
    assert(answer.status === 200, `login: ${answer.text}`);
    return new Client(this, `Bearer ${answer.body.accessToken}`);
  }

  keyClient(id = API_KEY, secret = API_SECRET): Client {
    return new Client(this, `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`);
  }

  anonymous(): Client {
    return new Client(this, undefined);
  }

  /** A client for a new operator with a role. */
  async operator(role: OperatorRole): Promise<Client> {
    const admin = await this.login();
    const name = `${role}-${randomUUID()}`;
    const password = `canary-${randomUUID()}`;
    const added = await admin.post('/api/v1/operators', { name, role, password });
    assert(added.status === 201, `operator: ${added.text}`);
    return this.login(name, password);
  }

  /** Everything that this world has let out, one text each. */
  async everythingSaid(): Promise<readonly string[]> {
    const commits = await this.log.read(0, 10_000);
    return [...this.logLines, ...this.answers, ...commits.map((one) => JSON.stringify(one))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api.close();
    await this.model[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true });
  }
}

type Headers = Readonly<Record<string, string>>;

/** Sends requests as somebody. */
export class Client {
  readonly #world: World;
  readonly authorization: string | undefined;

  constructor(world: World, authorization: string | undefined) {
    this.#world = world;
    this.authorization = authorization;
  }

  send(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'OPTIONS',
    url: string,
    payload?: unknown,
    headers: Headers = {},
  ): Promise<Answered> {
    const proof = this.authorization === undefined ? {} : { authorization: this.authorization };
    const sent = payload === undefined ? {} : { payload: JSON.stringify(payload) };
    const type = payload === undefined ? {} : { 'content-type': 'application/json' };
    return this.#world.request({
      method,
      url,
      ...sent,
      headers: { ...type, ...proof, ...headers },
    });
  }

  /** Posts what is not JSON, or not as `JSON.stringify` writes it. */
  sendRaw(url: string, payload: string | Buffer, headers: Headers): Promise<Answered> {
    const proof = this.authorization === undefined ? {} : { authorization: this.authorization };
    return this.#world.request({ method: 'POST', url, payload, headers: { ...proof, ...headers } });
  }

  get = (url: string, headers?: Headers) => this.send('GET', url, undefined, headers);
  post = (url: string, body?: unknown, headers?: Headers) => this.send('POST', url, body, headers);
  put = (url: string, body: unknown, headers?: Headers) => this.send('PUT', url, body, headers);
  patch = (url: string, body: unknown, headers?: Headers) => this.send('PATCH', url, body, headers);
  delete = (url: string, headers?: Headers) => this.send('DELETE', url, undefined, headers);
}
