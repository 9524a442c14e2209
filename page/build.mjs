// Builds the page into the package: `npm run build`, or `make page`, which runs `npm ci` before it.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";

const built = new URL("../src/headrace/gateway/page/built/", import.meta.url);

await rm(built, { recursive: true, force: true });
await mkdir(built, { recursive: true });
await build({
  entryPoints: { page: "src/main.tsx", style: "src/style.css" },
  outdir: built.pathname,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none", // the libraries' licences go whole into a file beside
});
await copyFile("src/index.html", new URL("index.html", built));
await copyFile("src/icon.svg", new URL("icon.svg", built));

const { dependencies } = JSON.parse(await readFile("package.json", "utf8"));
const licences = Object.keys(dependencies).map(async (name) => `${name}\n\n${await readFile(`node_modules/${name}/LICENSE`, "utf8")}`);
await writeFile(new URL("licences.txt", built), (await Promise.all(licences)).join("\n\n"));
