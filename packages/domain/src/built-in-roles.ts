import type { NewRole } from './role.ts';

/**
 * Roles that are there from the first start where they are asked for, and that nobody changes or removes: all there is, and what it takes
 * to see what one may do.
 * @source compat cybus A1.2
 */
export const BUILT_IN_ROLES: readonly NewRole[] = [
  {
    id: 'connectware-admin',
    name: 'connectware-admin',
    builtIn: true,
    permissions: [
      { id: 'mqtt', context: 'mqtt', resource: '#', operation: 'readWrite' },
      { id: 'http', context: 'http', resource: '/#', operation: 'readWrite' },
    ],
  },
  {
    id: 'minimum-access',
    name: 'minimum-access',
    builtIn: true,
    permissions: [{ id: 'auth', context: 'http', resource: '/api/auth/#', operation: 'read' }],
  },
];
