import { Type } from 'typebox';

export const emptyQuery = Type.Object({}, { additionalProperties: false });

export const nodesSchema = Type.Object({
  revision: Type.Integer({ description: 'Revision that this replica answers from.' }),
  hash: Type.String({ description: 'Running hash of the log at that revision.' }),
  items: Type.Array(
    Type.Object({
      nodeId: Type.String(),
      revision: Type.Integer({ description: 'Revision that every session of the node obeys.' }),
      hash: Type.String(),
      whenStale: Type.Enum(['drop', 'keep']),
      silentMs: Type.Integer({ description: 'How long ago the node was last heard.' }),
    }),
  ),
  total: Type.Integer(),
});
