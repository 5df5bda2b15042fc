import type { Api } from './api.ts';

/** A row of a group, as `allow publish a/#`. */
export type GroupRow = `${'allow' | 'deny'} ${'publish' | 'subscribe'} ${string}`;

interface Named {
  readonly id: string;
}

export interface GroupClient extends Named {
  readonly username: string;
  readonly password: string;
}

/** What the tests of clients and groups do over the REST API. No call waits until it is enforced, unless `query` says so. */
export class Groups {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  add(name: string, ...rows: GroupRow[]): Promise<Named> {
    return this.#api.expect(201, 'POST', '/api/v1/groups', bodyOf(name, rows));
  }

  async replace({ id }: Named, query: string, ...rows: GroupRow[]): Promise<void> {
    await this.#api.expect(200, 'PUT', `/api/v1/groups/${id}${query}`, bodyOf(id, rows));
  }

  async remove({ id }: Named, query = ''): Promise<void> {
    await this.#api.expect(204, 'DELETE', `/api/v1/groups/${id}${query}`);
  }

  async addClient(name: string, password = `password of ${name}`): Promise<GroupClient> {
    const body = { name, authentication: 'credentials', username: name, password };
    const { id } = await this.#api.expect<Named>(201, 'POST', '/api/v1/clients', body);
    return { id, username: name, password };
  }

  async removeClient({ id }: Named, query = ''): Promise<void> {
    await this.#api.expect(204, 'DELETE', `/api/v1/clients/${id}${query}`);
  }

  /** Adds a rule for a client to those that are there. */
  async give({ id }: Named, ...groups: Named[]): Promise<void> {
    const path = '/api/v1/group-rules';
    const { rules } = await this.#api.expect<{ rules: object[] }>(200, 'GET', path);
    const rule = { matchBy: 'credential', value: id, groups: groups.map((group) => group.id) };
    await this.#api.expect(200, 'PUT', path, { rules: [...rules, rule] });
  }

  async setRules(query: string, ...rules: object[]): Promise<void> {
    await this.#api.expect(200, 'PUT', `/api/v1/group-rules${query}`, { rules });
  }
}

function bodyOf(name: string, rows: readonly GroupRow[]): object {
  const permissions = rows.map((row) => {
    const [permission, action, ...topic] = row.split(' ');
    return { permission, action, topic: topic.join(' ') };
  });
  return { name, permissions };
}
