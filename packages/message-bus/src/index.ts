export { BUS_TOPIC_LEVELS_MAX, createLocalBus } from './local-bus.ts';
export type {
  BusListener,
  BusMessage,
  LocalBusOptions,
  MessageBus,
  TopicSyntax,
} from './message-bus.ts';
