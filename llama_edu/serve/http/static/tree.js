// A text with branches: nodes by id, each of which knows its parent. Nothing is ever taken out,
// and a node is written by one tab alone, so what two tabs made is put together by taking all.

let last = 0;

/** A moment in milliseconds that is later than every one this tab had before. */
export function now() {
  last = Math.max(Date.now(), last + 1);
  return last;
}

export const newId = () => `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;

/** The nodes from the root to `leaf`. A circle or a gap, which only a damaged file has, ends it. */
export function pathTo(nodes, leaf) {
  const path = [];
  const seen = new Set();
  for (let node = nodes[leaf]; node && !seen.has(node.id); node = nodes[node.parent]) {
    seen.add(node.id);
    path.unshift(node);
  }
  return path;
}

/** The children of a node, or with null the roots, the oldest first. */
export const childrenOf = (nodes, parent) =>
  Object.values(nodes)
    .filter((node) => (nodes[node.parent] ? node.parent : null) === parent)
    .sort((a, b) => a.made - b.made);

/** The end of the newest branch from `id` on; with null, of the newest of all. */
export function newestLeaf(nodes, id) {
  const path = new Set();
  for (let next = id; ; ) {
    const child = childrenOf(nodes, next).at(-1);
    if (!child || path.has(child.id)) return next;
    path.add(child.id);
    next = child.id;
  }
}

/** Take into `mine` what `theirs` has beyond it, and the later of what both have. */
export function absorb(mine, theirs) {
  for (const [id, node] of Object.entries(theirs)) {
    if (!mine[id]) mine[id] = node;
    else if (node.changed > mine[id].changed) Object.assign(mine[id], node);
  }
}
