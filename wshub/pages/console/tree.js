// The tree of services as the rows of a table: folders, and in them services, in the order of their paths.

// Rows as {path, depth, name, folder, parents}: a folder's path ends with a slash, and may be that of a service too.
export function makeTree(paths) {
  const folders = new Set();
  for (const path of paths) for (const folder of foldersOf(path)) folders.add(folder);
  return [...new Set([...paths, ...folders])].sort(compare).map((path) => {
    const parents = foldersOf(path);
    const above = parents.at(-1) ?? "/";
    return { path, depth: parents.length, name: path === "/" ? "/" : path.slice(above.length), folder: folders.has(path), parents };
  });
}

// "/foo/bar/baz" is in "/foo/" and "/foo/bar/"; a folder is not in itself.
function foldersOf(path) {
  const found = [];
  for (let end = path.indexOf("/", 1); end > 0 && end < path.length - 1; end = path.indexOf("/", end + 1)) found.push(path.slice(0, end + 1));
  return found;
}

const compare = (a, b) => (a < b ? -1 : Number(a > b));
