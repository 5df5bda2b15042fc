/** What dynamic security says where no row speaks, for each of its events. Reserved topics are never granted by it. */
export interface DynsecDefaults {
  readonly dynsecPublishClientSend: 'allow' | 'deny';
  readonly dynsecPublishClientReceive: 'allow' | 'deny';
  readonly dynsecSubscribe: 'allow' | 'deny';
  readonly dynsecUnsubscribe: 'allow' | 'deny';
}

/** @source mosquitto dynamic-security; compat C3.5 */
export const DYNSEC_DEFAULTS: DynsecDefaults = {
  dynsecPublishClientSend: 'deny',
  dynsecPublishClientReceive: 'allow',
  dynsecSubscribe: 'deny',
  dynsecUnsubscribe: 'allow',
};
