// npm ci && npm run build: page.js and the parts of d3 that it uses become page.min.js; its hash, which the page's security policy names, page.min.js.sha256.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const result = await build({ entryPoints: ["page.js"], bundle: true, minify: true, format: "iife", target: ["es2020"], charset: "ascii", legalComments: "none", metafile: true, write: false });
const packages = [...new Set(Object.keys(result.metafile.inputs).map((path) => /node_modules\/([^/]+)\//.exec(path)?.[1]).filter(Boolean))].sort();
let licences = "What page.min.js holds beside page.js:\n";
for (const name of packages) {
  const about = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  licences += `\n---- ${name} ${about.version} (${about.license})\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`;
}
// No </script and no <!-- may stand in an inline script.
const script = `/* d3, ${packages.length} modules: Copyright 2010-2026 Mike Bostock, ISC licence, see LICENSES.txt */\n` + result.outputFiles[0].text.trim().replaceAll("</", "<\\/").replaceAll("<!--", "<\\!--");
writeFileSync("page.min.js", script);
writeFileSync("page.min.js.sha256", createHash("sha256").update(script).digest("base64"));
writeFileSync("LICENSES.txt", licences);
console.log(`${script.length} bytes: ${packages.join(", ")}`);
