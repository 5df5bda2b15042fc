import { type TSchema, Type } from 'typebox';
import { aclSection } from './acl-section.ts';
import { authChainsSection } from './auth-chains-section.ts';
import { bansSection } from './bans-section.ts';
import { certificatesSection } from './certificates-section.ts';
import { credentialsSection } from './credentials-section.ts';
import { dynsecGroupsSection, dynsecRolesSection } from './dynsec-sections.ts';
import { groupRulesSection } from './group-rules-section.ts';
import { groupsSection } from './groups-section.ts';
import { rolesSection } from './roles-section.ts';
import type { ConfigSection } from './section.ts';
import { settingsSection } from './settings-section.ts';

/** Version of the file's format. */
export const CONFIG_FILE_VERSION = 1;

/**
 * Every section of the file. What others refer to stands before them. Operators and API keys are not in it, whoever asks: a file
 * must not be a way to become somebody else.
 */
export const SECTIONS: readonly ConfigSection[] = [
  settingsSection,
  certificatesSection,
  rolesSection,
  groupsSection,
  dynsecRolesSection,
  dynsecGroupsSection,
  authChainsSection,
  credentialsSection,
  groupRulesSection,
  aclSection,
  bansSection,
];

/** The schema of the file, for the route and for editors. */
export function configFileSchema(): TSchema {
  const properties: Record<string, TSchema> = {
    version: Type.Literal(CONFIG_FILE_VERSION, { description: 'Of the format.' }),
  };
  for (const { name, schema } of SECTIONS) properties[name] = Type.Optional(schema);
  return Type.Object(properties, {
    additionalProperties: false,
    title: 'Sallyport configuration',
    description: 'A section that is absent is left alone; one that is empty has no objects.',
  });
}
