import { createHash, X509Certificate } from 'node:crypto';
import {
  CertificateAuthority,
  freePorts,
  type Issued,
  RawMqtt5Client,
  removeTempFolders,
} from '@sallyport/test-kit';
import { type AccessSpec, DEFAULT_SETTINGS, parseFingerprint, type Store } from '@sallyport/domain';
import {
  CASE_CREDENTIAL_ID,
  type DecisionCase,
  dynsecObjects,
  factsOf,
  matchOf,
  type Row,
} from '../cases/load.ts';
import { Api } from './api.ts';
import { type ListenerName, openMqttStream, type StreamOptions } from './mqtt-streams.ts';
import { type Standalone, startStandalone } from './standalone.ts';

/** Connections from here say in a PROXY header where they come from. */
const PROXY_ADDRESS = '127.0.0.2';
/** The zone of `ws:default`; the other listeners name none. */
const WS_ZONE = 'hall-7';
const NOW_AND_LIVE = '?wait=enforced&apply=live';

type ShownCertificate = NonNullable<DecisionCase['facts']['certificate']> & {
  /** Issued by nobody whom the listeners know. */
  readonly foreign?: true;
};

/** What a stream is opened by. */
interface Caller {
  readonly certificate?: ShownCertificate;
  readonly peer?: string;
}

/** How the listeners let somebody in. */
export interface CaseListeners {
  readonly stores?: readonly Store[];
  readonly clientCertificate?: 'none' | 'optional' | 'required';
}

/** A broker with all its listeners, made by the REST API what a decision case says. */
export class CaseWorld implements AsyncDisposable {
  readonly api: Api;
  readonly #standalone: Standalone;
  readonly #authorities: Authorities;
  readonly #ports: Readonly<Record<ListenerName, number>>;
  readonly #shown = new Map<string, Promise<Issued>>();
  /** Addresses of what the case has made. */
  readonly #made: string[] = [];
  /** What the case calls things, by the ids that they have got. */
  readonly #names = new Map<string, string>();
  #grouped = false;
  #credentialId: string | undefined;

  private constructor(
    api: Api,
    standalone: Standalone,
    authorities: Authorities,
    ports: Readonly<Record<ListenerName, number>>,
  ) {
    this.api = api;
    this.#standalone = standalone;
    this.#authorities = authorities;
    this.#ports = ports;
  }

  /** `stores`: those that every listener asks; all of them when left out. */
  static async start({
    stores,
    clientCertificate = 'optional',
  }: CaseListeners = {}): Promise<CaseWorld> {
    const servers = await CertificateAuthority.create('/CN=Servers');
    const clients = await CertificateAuthority.create('/CN=Plant');
    const foreign = await CertificateAuthority.create('/CN=Plant');
    const server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
    const [tls = 0, wss = 0] = await freePorts(2);
    const standalone = await startStandalone({
      SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${tls}`,
      SALLYPORT_MQTT__WSS__LISTEN: `127.0.0.1:${wss}`,
      SALLYPORT_MQTT__TLS__CERT_FILE: server.certFile,
      SALLYPORT_MQTT__TLS__KEY_FILE: server.keyFile,
      SALLYPORT_MQTT__TLS__CLIENT_CERTIFICATE: clientCertificate,
      ...(clientCertificate !== 'none' && { SALLYPORT_MQTT__TLS__CA_FILE: clients.certFile }),
      SALLYPORT_MQTT__WS__ORIGINS_ALLOWED: '',
      SALLYPORT_MQTT__PROXY_FROM: PROXY_ADDRESS,
      SALLYPORT_MQTT__WS__ZONE: WS_ZONE,
      ...(stores && {
        SALLYPORT_MQTT__TCP__STORES: stores.join(),
        SALLYPORT_MQTT__TLS__STORES: stores.join(),
      }),
    });
    const api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
    const ports = {
      'tcp:default': standalone.mqttPort,
      'ws:default': standalone.wsPort,
      'ssl:default': tls,
      'wss:default': wss,
    };
    return new CaseWorld(api, standalone, { servers, clients, foreign }, ports);
  }

  /** The credential of the case. */
  get credentialId(): string {
    return this.#credentialId ?? '';
  }

  /** A rule id as the case has it. */
  inCaseWords(ruleId: string): string {
    let said = ruleId;
    for (const [id, name] of this.#names) said = said.replaceAll(id, name);
    return said;
  }

  /** Makes the world what the case says, and nothing else; enforced when this returns. */
  async setUp(one: DecisionCase): Promise<void> {
    for (const address of this.#made.splice(0)) await this.api.expect(204, 'DELETE', address);
    this.#names.clear();
    const byCertificate = one.credential?.access?.kind === 'mapping';
    this.#credentialId = await this.addCredential('the case', {
      ...(byCertificate && { kind: 'certificate' }),
      match: matchOf(one),
      ...(await this.#credentialOf(one)),
    });
    this.#made.unshift(`/api/v1/credentials/${this.#credentialId}`);
    this.#names.set(this.#credentialId, CASE_CREDENTIAL_ID);
    await this.#putGroups(one);
    await this.#putTables(one);
    const settings = { ...DEFAULT_SETTINGS, ...one.settings, denyAction: 'ignore' };
    await this.api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', settings);
  }

  /** Lets whoever is in by the credential of the case do anything, or takes that back; also where rights are pinned. */
  async makeSuperuser(superuser: boolean): Promise<void> {
    const address = `/api/v1/credentials/${this.credentialId}${NOW_AND_LIVE}`;
    await this.api.expect(200, 'PATCH', address, { superuser });
  }

  /** Answers its id. */
  async addCredential(name: string, more: object): Promise<string> {
    const body = { name, passwordRequired: false, ...more };
    return (await this.api.expect<{ id: string }>(201, 'POST', '/api/v1/credentials', body)).id;
  }

  /** A stream as the facts of the case have it, or by another listener. */
  async open(
    { facts }: Pick<DecisionCase, 'facts'>,
    listener = factsOf(facts).listener,
  ): Promise<RawMqtt5Client> {
    return this.openBy(facts, listener as ListenerName); // Opening fails for any other.
  }

  /** @throws Error when it is not let in, if the client hears of that before it sends anything */
  async openBy({ certificate, peer }: Caller, name: ListenerName): Promise<RawMqtt5Client> {
    const shown = certificate && (await this.#certificate(certificate));
    const options: StreamOptions = {
      port: this.#ports[name],
      tls: {
        ca: this.#authorities.servers.cert,
        ...(shown && { cert: shown.cert, key: shown.key }),
      },
      ...proxiedFrom(peer),
    };
    return RawMqtt5Client.over(await openMqttStream(name, options));
  }

  /** A certificate of these names, of authorities that the listeners know; always the same for the same facts. */
  #certificate(certificate: ShownCertificate): Promise<Issued> {
    const key = JSON.stringify(certificate);
    const known = this.#shown.get(key) ?? this.#issue(certificate);
    this.#shown.set(key, known);
    return known;
  }

  async #issue({ commonName, chainCommonNames, foreign }: ShownCertificate): Promise<Issued> {
    const [name = '', ...parents] = chainCommonNames ?? [commonName ?? ''];
    let authority = this.#authorities[foreign === true ? 'foreign' : 'clients'];
    const bundle: string[] = [];
    for (const parent of parents.toReversed()) {
      authority = await CertificateAuthority.create(`/CN=${escaped(parent)}`, authority);
      bundle.unshift(authority.cert);
    }
    const subject = name === '' ? '/O=Plant' : `/O=Plant/CN=${escaped(name)}`;
    const issued = await authority.issue({ subject });
    return { ...issued, cert: [issued.cert, ...bundle].join('') };
  }

  async #credentialOf(one: DecisionCase): Promise<object> {
    const { credential, roles = [] } = one;
    const { match: _match, ...said } = credential ?? {};
    if (said.access?.kind === 'dynsec') {
      return { ...said, access: await this.#dynsecAccess(one, said.access) };
    }
    if (said.access?.kind !== 'roles') return said;
    const ids = await this.#addAll(
      '/api/v1/roles',
      new Map(roles.map(({ id, permissions }) => [id, { permissions }])),
    );
    const held = said.access.roles.map((id) => ids.get(id) ?? id);
    return { ...said, access: { ...said.access, roles: held } };
  }

  /** Makes what the case has of dynamic security. Its names are those of the case, and decide the order. */
  async #dynsecAccess(
    one: DecisionCase,
    { roles, groups, ...access }: Extract<AccessSpec, { kind: 'dynsec' }>,
  ): Promise<object> {
    const ids = new Map<string, string>();
    const idOf = (kind: string, name: string): string => ids.get(`${kind}:${name}`) ?? name;
    const held = <H extends { readonly role: string }>(list: readonly H[]) =>
      list.map((role) => ({ ...role, role: idOf('role', role.role) }));
    for (const object of dynsecObjects(one)) {
      const { kind, id: name, ...fields } = object;
      const base = `/api/v1/dynsec/${kind}s`;
      const body = object.kind === 'group' ? { ...fields, roles: held(object.roles) } : fields;
      const { id } = await this.api.expect<{ id: string }>(201, 'POST', base, body);
      // A role is removed after the groups that name it.
      this.#made.unshift(`${base}/${id}`);
      this.#names.set(id, name);
      ids.set(`${kind}:${name}`, id);
    }
    const named = groups.map((group) => ({ ...group, group: idOf('group', group.group) }));
    return { ...access, roles: held(roles), groups: named };
  }

  async #putGroups({ groups, facts }: DecisionCase): Promise<void> {
    // Rules of an earlier case that are left stand beside no group.
    if (groups === undefined && !this.#grouped) return;
    this.#grouped = groups !== undefined;
    const rows = Object.entries(groups?.rows ?? {});
    const ids = await this.#addAll(
      '/api/v1/groups',
      new Map(rows.map(([id, permissions]) => [id, { description: '', permissions }])),
    );
    const shown = facts.certificate && (await this.#certificate(facts.certificate));
    const meant = (matchBy: string, value: string): string => {
      if (matchBy === 'credential') {
        return value === CASE_CREDENTIAL_ID ? this.credentialId : value;
      }
      const same = parseFingerprint(value) === facts.certificate?.fingerprintSha256;
      return matchBy === 'certificate_fingerprint' && shown && same ? fingerprintOf(shown) : value;
    };
    const rules = (groups?.rules ?? []).map(({ matchBy, value, groups: names }) => ({
      matchBy,
      value: meant(matchBy, value),
      groups: names.map((name) => ids.get(name) ?? name),
    }));
    await this.api.expect(200, 'PUT', '/api/v1/group-rules', { rules });
  }

  /** Makes these objects. Their ids are in the order of what the case calls them: of two that allow, the first is named. */
  async #addAll(
    address: string,
    objects: ReadonlyMap<string, object>,
  ): Promise<ReadonlyMap<string, string>> {
    const names = [...objects.keys()].sort();
    const ids: string[] = [];
    for (const name of names) {
      const body = { ...objects.get(name), ...(names.length > 1 && { permissions: [] }), name };
      const { id } = await this.api.expect<{ id: string }>(201, 'POST', address, body);
      this.#made.push(`${address}/${id}`);
      ids.push(id);
    }
    ids.sort();
    for (const [index, id] of ids.entries()) {
      const name = names[index] ?? '';
      this.#names.set(id, name);
      if (names.length === 1) continue;
      // No name that another one still has from above.
      const body = { ...objects.get(name), name: `${name} of the case` };
      await this.api.expect(200, 'PUT', `${address}/${id}`, body);
    }
    return new Map(ids.map((id, index) => [names[index] ?? '', id]));
  }

  async #putTables({ tables, facts: { clientId, username = '' } }: DecisionCase): Promise<void> {
    await this.#putRules(`clients/${encodeURIComponent(clientId)}`, tables.client);
    await this.#putRules(`usernames/${encodeURIComponent(username)}`, tables.username);
    await this.#putRules('everyone', tables.everyone);
  }

  /** The rows of a case, with the numbers as ids that the expectations name. */
  async #putRules(path: string, rows: readonly Row[] = []): Promise<void> {
    if (rows.length === 0) return;
    const address = `/api/v1/acl/${path}`;
    const rules = rows.map((row, index) => ({ ...row, ruleId: String(index + 1) }));
    await this.api.expect(200, 'PUT', address, { rules });
    this.#made.push(address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#standalone[Symbol.asyncDispose]();
    removeTempFolders();
  }
}

interface Authorities {
  readonly servers: CertificateAuthority;
  readonly clients: CertificateAuthority;
  readonly foreign: CertificateAuthority;
}

const fingerprintOf = ({ cert }: Issued): string =>
  createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');

/** As openssl wants a value of a subject. */
const escaped = (commonName: string): string => commonName.replaceAll(/[\\/+]/g, '\\$&');

/** Addresses of this machine are told by the connection itself. */
function proxiedFrom(peer: string | undefined): Pick<StreamOptions, 'proxied'> {
  const [, address, port] = /^\[(.*)\]:(\d+)$/.exec(peer ?? '') ?? [];
  if (address === undefined) return {};
  const header = `PROXY TCP6 ${address} ::1 ${port ?? ''} 1883\r\n`;
  return { proxied: { from: PROXY_ADDRESS, header } };
}
