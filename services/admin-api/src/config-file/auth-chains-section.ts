import {
  type AuthChain,
  type AuthChainFields,
  GLOBAL_SCOPE,
  isChainScope,
  saysSomething,
} from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import {
  authenticatorsOf,
  authenticatorView,
  replaceBody,
  unprovenOf,
} from '../routes/auth-chains/schema.ts';
import { entryProblem, listSection } from './list-section.ts';
import { type ConfigSection, fieldChanges } from './section.ts';

const entrySchema = Type.Object(
  {
    scope: Type.String({ description: '`global`, `listener:<type>:<name>` or `gateway:<name>`.' }),
    ...replaceBody.properties,
  },
  {
    additionalProperties: false,
    description:
      'An authenticator that has users is not removed by a file; they go first, or with it over the API. New passwords are hashed as ' +
      'the chain says that is there when the file is applied.',
  },
);

type Entry = Static<typeof entrySchema>;

const section = listSection<Entry, AuthChain>({
  name: 'authChains',
  entry: entrySchema,
  keyPointer: '/scope',
  // Their users go before them.
  deletedLast: true,
  keyOf({ scope }) {
    if (isChainScope(scope)) return scope;
    throw entryProblem('invalid_request', '/scope', 'is not a scope');
  },
  keyOfPresent: ({ scope }) => scope,
  find: (reads, { scope }) => reads.authChain(scope),
  pages: (snapshot) => [snapshot.authChains().filter(speaks)],
  written,

  compare({ scope, authenticators: sent, ...unproven }, present) {
    const authenticators = authenticatorsOf(sent);
    const wanted = { scope, authenticators, ...unprovenOf(unproven) };
    const fields = present && fieldChanges(written(present), written(wanted));
    if (present === undefined ? !speaks(wanted) : fields?.length === 0) return undefined;
    const ifRevision = present?.updatedRevision ?? 0;
    return {
      ...(fields === undefined ? { after: written(wanted) } : { fields }),
      rehearsal: () => ({
        type: 'ReplaceAuthChain',
        data: { ...wanted, keepUsers: true, ifRevision },
      }),
    };
  },
  remove: ({ scope, updatedRevision: ifRevision }) => ({
    type: 'ReplaceAuthChain',
    data: { scope, authenticators: [], anonymous: false, keepUsers: true, ifRevision },
  }),
});

/**
 * Chains of authenticators, by their scopes. A global chain that is empty cannot be taken away, and is nothing to take away: nobody
 * comes in by it.
 */
export const authChainsSection: ConfigSection = {
  ...section,
  async compare(value, against) {
    const changes = await section.compare(value, against);
    const global = against.context.ports.model.reads.authChain(GLOBAL_SCOPE);
    if (global === undefined || saysSomething(global)) return changes;
    return changes.filter(({ action, key }) => action !== 'delete' || key !== GLOBAL_SCOPE);
  },
};

type Said = AuthChainFields & Pick<AuthChain, 'scope'>;

const speaks = (said: Said): boolean => saysSomething(said) || said.scope === GLOBAL_SCOPE;

function written({ scope, authenticators, ...said }: Said) {
  return { scope, authenticators: authenticators.map(authenticatorView), ...unprovenOf(said) };
}
