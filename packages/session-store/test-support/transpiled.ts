import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

function transpile(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(join(from, name), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2023,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(to, name.replace(/\.ts$/, '.js')), outputText);
  }
}

/**
 * Puts this package's sources and test support into the folder as JavaScript, for processes of their own: they must not meet a
 * stale build. Answers the folder of the test support.
 */
export function transpilePackage(folder: string): string {
  transpile(here('../src'), join(folder, 'src'));
  transpile(here('.'), join(folder, 'test-support'));
  const modules = join(folder, 'node_modules');
  transpile(here('../../errors/src'), join(modules, '@sallyport/errors'));
  const manifest = { type: 'module', exports: './index.js' };
  writeFileSync(join(modules, '@sallyport/errors/package.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  symlinkSync(here('../node_modules/@photostructure'), join(modules, '@photostructure'));
  return join(folder, 'test-support');
}
