import { readFileSync } from 'node:fs';
import { OperationalError } from '@sallyport/errors';
import type { RegistrationConfig } from '../config.ts';
import { IssuingAuthority } from './issuing-authority.ts';

/**
 * The authority that signs requests of who is granted access; undefined where none is configured.
 * @throws OperationalError `config_invalid`, naming the key and nothing of what is in the files
 */
export function loadIssuingAuthority({
  caCertificateFile,
  caKeyFile,
  certificateValidityDays: validityDays,
}: RegistrationConfig): IssuingAuthority | undefined {
  if (caCertificateFile === undefined || caKeyFile === undefined) return undefined;
  const opened = IssuingAuthority.open({
    certificatePem: read('registration.caCertificateFile', caCertificateFile),
    keyPem: read('registration.caKeyFile', caKeyFile),
    validityDays,
  });
  if (opened.ok) return opened.authority;
  const { file, problem } = opened;
  const key = file === 'certificate' ? 'caCertificateFile' : 'caKeyFile';
  throw new OperationalError('config_invalid', `registration.${key} ${problem}`);
}

function read(key: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new OperationalError('config_invalid', `${key} cannot be read (${code}): ${path}`);
  }
}
