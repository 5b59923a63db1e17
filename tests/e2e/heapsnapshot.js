// Reads a .heapsnapshot with memlab's parser and says what it makes of it, for questions.py: node heapsnapshot.js NODE_MODULES FILE NAME
// Prints {nodes, edges, objects: [[retained size, names of references] of each node called NAME], total: retained size of the root}.
'use strict';
const path = require('path');
const [modules, file, name] = process.argv.slice(2);
const memlab = path.join(modules, '@memlab', 'core');
const load = (what) => { const m = require(path.join(memlab, 'dist', 'lib', what)); return m.default || m; };
const config = load('Config');
config.muteConsole = true;
(async () => {
  const snapshot = await load('HeapParser').parse(file);
  const finder = new (load(path.join('..', 'paths', 'TraceFinder')))();
  finder.annotateShortestPaths(snapshot);
  finder.calculateAllNodesRetainedSizes(snapshot);
  const objects = [];
  let nodes = 0, edges = 0, total = 0;
  snapshot.nodes.forEach((node) => {
    nodes++;
    if (node.id === 1) total = node.retainedSize;
    if (node.name === name) objects.push([node.retainedSize, node.references.map((e) => String(e.name_or_index)).sort()]);
  });
  snapshot.edges.forEach(() => { edges++; });
  process.stdout.write(JSON.stringify({nodes, edges, objects, total}) + '\n');
})().catch((e) => { console.error(e); process.exit(1); });
