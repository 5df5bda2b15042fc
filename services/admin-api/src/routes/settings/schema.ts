import {
  DENY_ACTIONS,
  type Settings,
  type SettingValues,
  TBMQ_PROVIDERS,
  TBMQ_STRATEGIES,
  type TbmqProvider,
} from '@sallyport/domain';
import { Type } from 'typebox';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const noMatch = Type.Enum(['allow', 'deny'], {
  description: 'The verdict when no rule and no credential says anything.',
});
const denyAction = Type.Enum([...DENY_ACTIONS], {
  description:
    'What an MQTT 3 client meets when it publishes without the right to: an acknowledgement, or the end of its connection. With `disconnect_always` so does a client of MQTT 5, and whoever subscribes without the right to.',
});

const aclSubscribeMatch = Type.Enum(['text', 'containment'], {
  description:
    'How the ACL tables judge a SUBSCRIBE. `text`: by the first row that matches its filter as if that were a topic, so that a row for `a/+` grants `a/#`. `containment`: rows must allow every topic that the filter matches. In both cases nothing is delivered that a row denies, or that none allows.',
});

const aclEnabled = Type.Boolean({
  description:
    'Whether the ACL tables are looked at. While they are not, their rows are kept, and neither allow nor deny anything.',
});

const foreignValues = Type.Record(Type.String(), Type.String(), {
  description:
    'What foreign APIs are to give back as it was given, and which means nothing here, by names of their own. Replaced as a whole.',
});

const tbmqProviders = Type.Unsafe<readonly TbmqProvider[]>({
  type: 'array',
  items: { type: 'string', enum: [...TBMQ_PROVIDERS] },
  uniqueItems: true,
  description:
    'Ways into the store `tbmq` that are open, in the order in which they are tried. `password`: credentials of that kind, with their ' +
    'password or none. `certificate`: those of that kind. `scram`: MQTT 5 enhanced authentication. None of them: nobody comes in by ' +
    'the store; it does not let everybody in. Live sessions stay.',
});

const tbmqStrategy = Type.Enum([...TBMQ_STRATEGIES], {
  description:
    'What finds credentials of kind `password` in the store `tbmq`. `client_id_and_username`: those that match both, then the user ' +
    'name, then the client id. With one of the others only those that match nothing else.',
});

const tokensAsPasswords = Type.Boolean({
  description:
    'Whether a token of a credential is taken as its password in CONNECT, where `token` is one of its grants. Sessions that came in by ' +
    'one end when this is taken back.',
});
const event = (what: string) =>
  Type.Enum(['allow', 'deny'], {
    description: `What credentials with access by dynamic security may do where none of their rows speaks: ${what}. Reserved topics are never granted by it.`,
  });

/** Under the names of the domain, for people who know them from Mosquitto. */
const dynsecDefaults = {
  dynsecPublishClientSend: event('publish'),
  dynsecPublishClientReceive: event('be sent messages'),
  dynsecSubscribe: event('subscribe'),
  dynsecUnsubscribe: event('end subscriptions'),
};

export const patchBody = Type.Object(
  {
    noMatch: Type.Optional(noMatch),
    denyAction: Type.Optional(denyAction),
    aclSubscribeMatch: Type.Optional(aclSubscribeMatch),
    aclEnabled: Type.Optional(aclEnabled),
    foreignValues: Type.Optional(foreignValues),
    tbmqProviders: Type.Optional(tbmqProviders),
    tbmqStrategy: Type.Optional(tbmqStrategy),
    tokensAsPasswords: Type.Optional(tokensAsPasswords),
    dynsecPublishClientSend: Type.Optional(dynsecDefaults.dynsecPublishClientSend),
    dynsecPublishClientReceive: Type.Optional(dynsecDefaults.dynsecPublishClientReceive),
    dynsecSubscribe: Type.Optional(dynsecDefaults.dynsecSubscribe),
    dynsecUnsubscribe: Type.Optional(dynsecDefaults.dynsecUnsubscribe),
  },
  { ...closed, minProperties: 1 },
);

const members = {
  noMatch,
  denyAction,
  aclSubscribeMatch,
  aclEnabled,
  foreignValues: Type.Optional(foreignValues),
  tbmqProviders,
  tbmqStrategy,
  tokensAsPasswords,
  ...dynsecDefaults,
  updatedRevision: Type.Integer(),
};
export const settingsSchema = Type.Object(members);
export const writtenSettingsSchema = Type.Object({ ...members, revision: Type.Integer() });

export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

/** What an administrator has decided, without when. */
export function settingValues(settings: Settings): SettingValues {
  const { updatedRevision: _revision, valueRevisions: _revisions, ...values } = settings;
  return values;
}

export const settingsView = (settings: Settings) => ({
  ...settingValues(settings),
  updatedRevision: settings.updatedRevision,
});
