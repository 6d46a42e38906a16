// What the other modules do with the document. Whatever comes from services and clients is put in as text.

export const $ = (id) => document.getElementById(id);

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

// Writing only what differs keeps screen readers quiet, and a table of hundreds cheap.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// A list that grows at its end, keeps its last `most` lines, and stays at its end if that is what one looks at.
export function appendLines(list, lines, most) {
  if (!lines.length) return;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...lines.slice(-most));
  while (list.children.length > most) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

// A list of names and values; those whose value is empty are left out.
export function setFacts(list, facts) {
  const wanted = facts.filter(([, value]) => value !== "");
  const names = wanted.map(([name]) => name).join("\n");
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...wanted.map(([name]) => {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd"));
      return pair;
    }));
  }
  wanted.forEach(([, value], index) => setText(list.children[index].lastElementChild, value));
}
