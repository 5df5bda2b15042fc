import { PASSWORD_RULE_MAX } from '@sallyport/domain';
import { Type } from 'typebox';

const rule = (what: string) =>
  Type.Integer({ minimum: 0, maximum: PASSWORD_RULE_MAX, description: `Fewest ${what}.` });

export const passwordPolicySchema = Type.Object(
  {
    min: rule('characters in all, as Unicode code points'),
    lower: rule('lower-case letters (Ll)'),
    upper: rule('upper-case letters (Lu)'),
    numeric: rule('decimal digits (Nd)'),
    symbol: rule('punctuation marks and symbols (P*, S*)'),
  },
  {
    description:
      'What a password that somebody chooses must have; 0 asks for nothing. Operators need 12 characters and whoever asks for access 5 in any case.',
  },
);

export const emptyQuery = Type.Object({}, { additionalProperties: false });
