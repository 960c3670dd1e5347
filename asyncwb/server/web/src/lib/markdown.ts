// Markdown as safe HTML: no raw HTML, no links that run anything. Pictures come only from this
// server's files: a report must not tell others who reads it (the page's policy lets no other site
// load, either), and must not have its reader's browser ask this server for anything else.

import MarkdownIt from "markdown-it";
import { at, local } from "./base";

const renderer = new MarkdownIt({ html: false, linkify: true, typographer: false });

const validateLink = renderer.validateLink.bind(renderer);
renderer.validateLink = (url) => validateLink(url) && !/^data:/i.test(url.trim());

renderer.renderer.rules["image"] = (tokens, index, _options, _env, self) => {
  const token = tokens[index];
  const source = String(token?.attrGet("src") ?? "");
  const escape = renderer.utils.escapeHtml;
  const text = escape(self.renderInlineAsText(token?.children ?? [], renderer.options, {}));
  const file = ownFile(source);
  if (file !== null) return `<img src="${escape(file)}" alt="${text}" loading="lazy">`;
  return `<a href="${escape(source)}" ${OUTSIDE}>${text || escape(source)}</a>`;
};

/** The address of a file of this server, as a browser reads it; null for anything else. */
function ownFile(source: string): string | null {
  if (!/^\/(?![\\/])/.test(source)) return null;
  const { pathname, search } = new URL(source, "http://here"); // "/files/../login" is no file
  const path = local(pathname) ?? pathname;
  return path.startsWith("/files/") ? at(path) + search : null;
}

const OUTSIDE = 'target="_blank" rel="noopener noreferrer"';

renderer.renderer.rules["link_open"] = (tokens, index, options, _env, self) => {
  const token = tokens[index];
  if (token && /^[a-z][a-z0-9+.-]*:|^\/\//i.test(String(token.attrGet("href") ?? ""))) {
    token.attrSet("target", "_blank");
    token.attrSet("rel", "noopener noreferrer");
  }
  const path = String(token?.attrGet("href") ?? "");
  if (path.startsWith("/") && !path.startsWith("//") && local(path) === null)
    token?.attrSet("href", at(path));
  return self.renderToken(tokens, index, options);
};

// Columns are aligned by a class: the page's policy allows no style attributes.
for (const name of ["th_open", "td_open"])
  renderer.renderer.rules[name] = (tokens, index, options, _env, self) => {
    const token = tokens[index];
    const align = /text-align:(\w+)/.exec(String(token?.attrGet("style") ?? ""))?.[1];
    if (token && align !== undefined) token.attrs = [["class", align]];
    return self.renderToken(tokens, index, options);
  };

export function toHtml(text: string): string {
  return renderer.render(text);
}
