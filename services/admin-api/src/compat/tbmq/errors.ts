import { errorFacts, type Rejection } from '@sallyport/errors';

/** Numbers of TBMQ's `ThingsboardErrorCode`. */
export const errorCodes = {
  general: 2,
  authentication: 10,
  tokenExpired: 11,
  permissionDenied: 20,
  badRequestParams: 31,
  itemNotFound: 32,
  tooManyRequests: 33,
} as const;

/** TBMQ's envelope, without its timestamp. */
export interface TbmqError {
  readonly status: number;
  readonly message: string;
  readonly errorCode: number;
}

/** A request that is refused in TBMQ's words, which its clients match on. */
export class TbmqRefusedError extends Error {
  override readonly name = 'TbmqRefusedError';
  readonly answer: TbmqError;

  constructor(answer: TbmqError) {
    super(answer.message);
    this.answer = answer;
  }
}

const unauthorized = (message: string, errorCode: number = errorCodes.authentication) =>
  new TbmqRefusedError({ status: 401, message, errorCode });

export const authenticationFailed = () => unauthorized('Authentication failed');
export const wrongLogin = () => unauthorized('Invalid username or password');
export const tokenExpired = () => unauthorized('Token has expired', errorCodes.tokenExpired);
export const accountNotActive = () => unauthorized('User account is not active');
export const methodNotSupported = () => unauthorized('Authentication method not supported');

export const permissionDenied = () =>
  new TbmqRefusedError({
    status: 403,
    message: "You don't have permission to perform this operation!",
    errorCode: errorCodes.permissionDenied,
  });

export const badRequest = (message: string) =>
  new TbmqRefusedError({ status: 400, message, errorCode: errorCodes.badRequestParams });

export const notFoundItem = () =>
  new TbmqRefusedError({
    status: 404,
    message: "Requested item wasn't found!",
    errorCode: errorCodes.itemNotFound,
  });

/** What one of our refusals is in TBMQ's words, where no route has said it better. */
export function tbmqErrorOf(rejection: Rejection): TbmqError {
  const { code, problems } = rejection;
  const { http, title } = errorFacts[code];
  if (code === 'login_failed') return wrongLogin().answer;
  if (http === 401) return authenticationFailed().answer;
  if (http === 403) return permissionDenied().answer;
  if (http === 404) return notFoundItem().answer;
  if (http === 429) {
    return { status: http, message: 'Too many requests', errorCode: errorCodes.tooManyRequests };
  }
  if (http >= 500) return { status: http, message: title, errorCode: errorCodes.general };
  // Conflicts and invalid content are 400 there; the size of a body and its like keep their status.
  const status = http === 409 || http === 412 || http === 422 ? 400 : http;
  const details = problems?.map((one) => `${one.pointer} ${one.detail}`.trim()).join('; ');
  return { status, message: details ?? title, errorCode: errorCodes.badRequestParams };
}

/** A point in time as Spring writes one in era S: ISO 8601 with a numeric zone. */
export const timestampOf = (at: number): string =>
  new Date(at).toISOString().replace('Z', '+00:00');
