import { defineConfig } from 'vitest/config';

// Tests run the sources: every package exports them under this condition, so that a test never meets a stale build.
const source = { conditions: ['sallyport-source', 'node'] };

export default defineConfig({
  resolve: source,
  ssr: { resolve: source },
  test: {
    // Ends where a test waits in vain: a second is no bound on a machine that others use too.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          sequence: { groupOrder: 0 },
          include: [
            'packages/*/src/**/*.test.ts',
            'services/*/src/**/*.test.ts',
            'test/**/*.test.ts',
          ],
          exclude: ['**/*.{int,e2e}.test.ts', '**/dist/**', '**/node_modules/**'],
          // Hashes and property tests on a busy machine; no test waits for this long.
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          sequence: { groupOrder: 1 },
          include: ['packages/*/src/**/*.int.test.ts', 'services/*/src/**/*.int.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          sequence: { groupOrder: 2 },
          include: ['test/**/*.e2e.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Most of the time they wait for processes to start, and for time to pass.
          maxWorkers: 2,
        },
      },
    ],
  },
});
