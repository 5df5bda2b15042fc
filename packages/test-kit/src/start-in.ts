import type { ServerProcess } from './server-process.ts';
import { removeFolder } from './temp-folder.ts';

/** Starts a server, and removes its folder when that fails: nobody gets a handle to stop it by then. */
export async function startIn(folder: string, server: ServerProcess): Promise<void> {
  try {
    await server.start();
  } catch (error) {
    removeFolder(folder);
    throw error;
  }
}
