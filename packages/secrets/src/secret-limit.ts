/** Longest secret that is looked at, in bytes. */
export const SECRET_BYTES_MAX = 4096;
