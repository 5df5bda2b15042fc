/** One answer of the REST API. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed when it is JSON, else the text. */
  readonly body: unknown;
}

/** A small client of the REST API: what the tests need, and no retries. */
export class Api {
  readonly url: string;
  #authorization: string | undefined;

  constructor(url: string, authorization?: string) {
    this.url = url;
    this.#authorization = authorization;
  }

  /** As an operator. */
  static async login(url: string, username: string, password: string): Promise<Api> {
    const api = new Api(url);
    const { status, body } = await api.send('POST', '/api/v1/auth/login', { username, password });
    if (status !== 200) throw new Error(`login: ${status} ${JSON.stringify(body)}`);
    const { accessToken } = body as { accessToken: string };
    return new Api(url, `Bearer ${accessToken}`);
  }

  /** As a program. */
  static withKey(url: string, key: { readonly key: string; readonly secret: string }): Api {
    const basic = Buffer.from(`${key.key}:${key.secret}`).toString('base64');
    return new Api(url, `Basic ${basic}`);
  }

  async send(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const type = body !== undefined && { 'content-type': 'application/json' };
    return this.sendText(method, path, body === undefined ? undefined : JSON.stringify(body), {
      ...type,
      ...headers,
    });
  }

  /** The same with a body that is a text already; the headers tell its type. */
  async sendText(
    method: string,
    path: string,
    body: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        ...(this.#authorization !== undefined && { authorization: this.#authorization }),
        ...headers,
      },
      ...(body !== undefined && { body }),
      signal: AbortSignal.timeout(70_000),
    });
    const text = await response.text();
    // Lines of JSON are a text.
    const json = /\bjson\b/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      body: json ? JSON.parse(text) : text,
    };
  }

  /** Sends and wants this status. Answers the body. */
  async expect<T>(status: number, method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.send(method, path, body);
    if (answer.status !== status) {
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return answer.body as T; // The shape is the caller's claim; the OpenAPI tests hold the API to it.
  }

  /** A credential with a machine secret, and rules for its username; enforced when this returns. */
  async addDevice(
    username: string,
    rules: readonly { effect: 'allow' | 'deny'; action: string; topicFilter: string }[],
  ): Promise<{ readonly id: string; readonly username: string; readonly password: string }> {
    const { id, secret } = await this.expect<{ id: string; secret: string }>(
      201,
      'POST',
      '/api/v1/credentials',
      { name: username, match: { username }, generateSecret: true },
    );
    const path = `/api/v1/acl/usernames/${encodeURIComponent(username)}?wait=enforced`;
    const answer = await this.send('PUT', path, { rules });
    if (answer.status !== 200 && answer.status !== 201) {
      throw new Error(`rules of ${username}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return { id, username, password: secret };
  }
}
