import type { ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import {
  type Answer,
  DecideRequest,
  DecideResponse,
  type PolicyServiceClient,
  PolicyServiceService,
  type Question,
} from './generated/sallyport/policy/v1/policy.js';

const { decide } = PolicyServiceService;
const asItIs = (encoded: Buffer): Buffer => encoded;
/** The same bytes, not a copy. */
const bufferOf = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/** One request of `Decide`. Those of several questions, one behind the other, are one request too. */
export const encodeQuestion = (question: Question): Buffer =>
  bufferOf(DecideRequest.encode({ questions: [question] }).finish());

/** As `encodeQuestion`, of an answer. */
export const encodeAnswer = (answer: Answer): Buffer =>
  bufferOf(DecideResponse.encode({ answers: [answer] }).finish());

/**
 * Opens the stream of decisions, for requests that are encoded already: gRPC ends a stream on which something cannot be encoded, and
 * with it everybody else's question.
 */
export const openDecideStream = (
  client: PolicyServiceClient,
  metadata: Metadata,
): ClientDuplexStream<Buffer, DecideResponse> =>
  client.makeBidiStreamRequest(decide.path, asItIs, decide.responseDeserialize, metadata);

/** The service for a server whose `decide` writes what is encoded already, see `openDecideStream`. */
export const policyServiceDefinition = {
  ...PolicyServiceService,
  decide: { ...decide, responseSerialize: asItIs },
} as const;
