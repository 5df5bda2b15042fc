import type { ApiKeyRole } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyInstance } from 'fastify';

export const RESOURCES = [
  'credentials',
  'acl',
  'settings',
  'operators',
  'api-keys',
  'nodes',
  'policy',
  'status',
  'certificates',
  'roles',
  'config',
  'groups',
  'dynsec',
  'group-rules',
  'clients',
  'bans',
  'connections',
  'auth-chains',
  'registration',
] as const;
export type Resource = (typeof RESOURCES)[number];

/**
 * What a route needs: a right on a resource; `session`, a person's own session, of any role; or `public`, nothing at all.
 */
export type Permission = `${Resource}:${'read' | 'write'}` | 'session' | 'public';

/** Who sends a request. */
export interface Caller {
  readonly kind: 'operator' | 'api_key';
  readonly id: string;
  readonly name: string;
  readonly role: ApiKeyRole;
}

/** A caller as people read it. */
export const callerText = ({ kind, name }: Caller): string => `${kind}:${name}`;

/** People's accounts and keys: not for viewers, and not for keys either, lest a stolen key outlive its removal. */
const ACCOUNTS: ReadonlySet<string> = new Set(['operators', 'api-keys']);

/** Whether the caller may use a route. An undeclared permission is never allowed. */
export function allows(caller: Caller, permission: Permission): boolean {
  if (permission === 'public') return true;
  if (permission === 'session') return caller.kind === 'operator';
  const [resource, right] = permission.split(':');
  if (resource === undefined || right === undefined) return false;
  if (ACCOUNTS.has(resource) && caller.kind !== 'operator') return false;
  if (caller.role === 'administrator') return true;
  if (caller.role === 'publisher') return false;
  return right === 'read' && !ACCOUNTS.has(resource);
}

declare module 'fastify' {
  interface FastifyContextConfig {
    permission?: Permission;
  }
}

/** Makes a route without a declared permission a failure to start. */
export function requirePermissions(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    assert(
      route.config?.permission !== undefined,
      `route ${String(route.method)} ${route.url} declares no permission`,
    );
  });
}
