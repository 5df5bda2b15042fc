/** Spaces other than U+0020. RFC 3454 C.1.2 */
const OTHER_SPACE = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;

/** What is commonly mapped to nothing. RFC 3454 B.1 */
const NOTHING =
  /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu;

/**
 * What may not be there in the end. RFC 3454 C.2 to C.9, of which the categories say the most: controls, private use,
 * surrogates, and what is assigned to nothing (non-characters included).
 */
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Cs}\p{Cn}\u06dd\u070f\u180e\u200e\u200f\u2028-\u202e\u2061-\u2063\u206a-\u206f\u2ff0-\u2ffb\ufff9-\ufffd\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u;

/** Characters that are read from right to left. RFC 3454 D.1 */
const RIGHT_TO_LEFT =
  /[\u05be\u05c0\u05c3\u05d0-\u05ea\u05f0-\u05f4\u061b\u061f\u0621-\u063a\u0640-\u064a\u066d-\u066f\u0671-\u06d5\u06dd\u06e5\u06e6\u06fa-\u06fe\u0700-\u070d\u0710\u0712-\u072c\u0780-\u07a5\u07b1\u200f\ufb1d\ufb1f-\ufb28\ufb2a-\ufb36\ufb38-\ufb3c\ufb3e\ufb40\ufb41\ufb43\ufb44\ufb46-\ufbb1\ufbd3-\ufd3d\ufd50-\ufd8f\ufd92-\ufdc7\ufdf0-\ufdfc\ufe70-\ufe74\ufe76-\ufefc]/u;

const LETTER = /\p{L}/u;

/** Text that is to be prepared at most, in UTF-16 units; what is longer is no name and no password. */
const LENGTH_MAX = 4096;

/**
 * A user name or password in the form in which SCRAM compares and hashes it, or undefined when it has none: prohibited
 * characters, directions mixed, nothing left, or too long. O(length). What Unicode has assigned since version 3.2 is let
 * through, because clients that are less strict than RFC 4013 send it as it is.
 * @source RFC 4013 §2, RFC 3454 §6
 * @example saslprep('I\u00adX') // 'IX'
 */
export function saslprep(text: string): string | undefined {
  if (text.length > LENGTH_MAX) return undefined;
  const prepared = text.replace(OTHER_SPACE, ' ').replace(NOTHING, '').normalize('NFKC');
  if (prepared === '' || PROHIBITED.test(prepared) || mixesDirections(prepared)) return undefined;
  return prepared;
}

/** RFC 3454 §6: who writes from right to left does so at both ends, and uses no letters of the other direction. */
function mixesDirections(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return false;
  const characters = [...text];
  const rightToLeft = characters.map((one) => RIGHT_TO_LEFT.test(one));
  if (rightToLeft[0] !== true || rightToLeft.at(-1) !== true) return true;
  return characters.some((one, index) => rightToLeft[index] !== true && LETTER.test(one));
}
