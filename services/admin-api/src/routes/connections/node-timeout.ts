/** How long a node may take for one question. */
export const NODE_TIMEOUT_MS = 2000;
