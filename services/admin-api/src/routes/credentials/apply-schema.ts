import { APPLY_MODES } from '@sallyport/domain';
import { Type } from 'typebox';

/** Member of every kind of access. */
export const applySchema = Type.Optional(
  Type.Enum([...APPLY_MODES], {
    description:
      'What changes do to live sessions, unless one is made with `apply`: `live` judges them anew, `kick` disconnects those whose ' +
      'rights are others now, `pinned` leaves them their rights until they connect again. When left out: `pinned` for `patterns`, ' +
      '`mapping`, `groups` and whatever is in the store `tbmq`, `kick` for `dynsec`, else `live`.',
  }),
);
