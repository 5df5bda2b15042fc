import type { Credential, SettingValues, TbmqProvider } from '@sallyport/domain';
import type { ProvenBy } from './chains.ts';

type Providers = Pick<SettingValues, 'tbmqProviders' | 'tbmqStrategy'>;

/**
 * When a credential's turn comes in its store, the least first; undefined when the settings of the store do not let it decide on such a
 * CONNECT. Zero in every store but `tbmq`.
 * @source compat tbmq 5.1, 5.3
 */
export function turnOf(
  { store, kind, match }: Pick<Credential, 'store' | 'kind' | 'match'>,
  { tbmqProviders, tbmqStrategy }: Providers,
  how: ProvenBy,
): number | undefined {
  if (store !== 'tbmq') return 0;
  const provider: TbmqProvider = how === 'scram' ? 'scram' : kind;
  const turn = tbmqProviders.indexOf(provider);
  if (turn < 0) return undefined;
  // A SCRAM exchange says itself who is to be proven.
  if (provider !== 'password' || tbmqStrategy === 'client_id_and_username') return turn;
  const other = tbmqStrategy === 'username' ? match.clientId : match.username;
  return other === undefined ? turn : undefined;
}
