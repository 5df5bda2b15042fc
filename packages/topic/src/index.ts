export {
  levelsOf,
  type Parsed,
  parseSubscription,
  parseTopicFilter,
  parseTopicName,
  type Subscription,
  textProblem,
  TOPIC_BYTES_MAX,
  TOPIC_LEVELS_MAX,
  type TopicFilter,
  type TopicName,
  type TopicProblem,
  topicProblemText,
  utf8Bytes,
} from './levels.ts';
export { isReserved, matches } from './match.ts';
export {
  parseTopicPattern,
  type ParsedPattern,
  PATTERN_LENGTH_MAX,
  plainCovers,
  type PlainPattern,
  type TopicPattern,
} from './pattern.ts';
export {
  type KeywordPattern,
  type ParsedKeywordPattern,
  parseKeywordPattern,
  quotedPattern,
} from './keyword-pattern.ts';
