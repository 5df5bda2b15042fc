import { isLive } from '@sallyport/domain';
import { PLAIN_TERMS } from '@sallyport/rules';
import { parseSubscription, parseTopicName, topicProblemText } from '@sallyport/topic';
import type { Routes } from '../../http/context.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import { emptyQuery, explainBody, explanationSchema } from './schema.ts';

export const explainRoutes: Routes = (app, { ports }) => {
  app.post(
    '/explain',
    {
      config: { permission: 'policy:read' },
      schema: {
        tags: ['policy'],
        operationId: 'explain',
        summary: 'Tell what a client may do, and which rule says so',
        querystring: emptyQuery,
        body: explainBody,
        response: answers({ 200: explanationSchema }, READ_PROBLEMS),
      },
    },
    async (request) => {
      const { credentialId, clientId, username, listener, action } = request.body;
      const topic = parsedTopic(action, request.body.topic);
      const credential = ports.model.reads.credential(credentialId);
      if (credential === undefined) throw refused('credential_not_found');
      const facts = { clientId, listener, ...(username === undefined ? {} : { username }) };
      // The question is about a client that has got in, with the newest secret if it needs one.
      const secretId = credential.secrets.find((one) => isLive(one, ports.clock()))?.secretId;
      const proven = secretId === undefined ? {} : { secretId };
      return ports.policy.explain({
        principal: { credentialId, store: credential.store, facts, ...proven },
        action,
        topic,
        terms: PLAIN_TERMS,
        minRevision: ports.model.revision,
      });
    },
  );
};

/** The topic to judge; a share group changes nothing about what is granted. @throws RefusedError `invalid_request` */
function parsedTopic(action: string, topic: string): string {
  const parsed = action === 'subscribe' ? parseSubscription(topic) : parseTopicName(topic);
  if (!parsed.ok) {
    const detail = topicProblemText[parsed.problem];
    throw refused('invalid_request', { problems: [{ pointer: '/topic', detail }] });
  }
  return typeof parsed.value === 'string' ? parsed.value : parsed.value.filter;
}
