import { expect, test } from "vitest";
import { toHtml } from "./markdown";

test("nothing in a text can run: no HTML, no links that do more than lead somewhere", () => {
  const hostile = [
    "<script>alert(1)</script> <img src=x onerror=alert(1)>",
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x)",
    '![x](javascript:alert(1)) ![y](data:image/svg+xml,x) [e](/ok "\\" onmouseover=alert(1) ")',
    "`<b>`\n\n```js\n</code><script>1</script>\n```",
  ].join("\n\n");
  const html = toHtml(hostile);
  expect(html).not.toMatch(/<(script|b|svg)[\s>]/i);
  expect(html).not.toMatch(/<img[^>]*onerror/i);
  expect(html).not.toMatch(/(href|src)="\s*(javascript|data|vbscript):/i);
  expect(html).not.toMatch(/" onmouseover/);
});

test("pictures of this server are shown, others are links that say nothing of who follows them", () => {
  expect(toHtml("![a curve](/files/me/p/r/a.png)")).toContain(
    '<img src="/files/me/p/r/a.png" alt="a curve"',
  );
  for (const elsewhere of ["https://example.org/a.png", "//example.org/a.png"]) {
    const html = toHtml(`![far](${elsewhere})`);
    expect(html).not.toContain("<img");
    expect(html).toContain('rel="noopener noreferrer">far</a>');
  }
});

test("tables are aligned without style attributes", () => {
  const html = toHtml("| a | b |\n|---|--:|\n| 1 | 2 |");
  expect(html).toContain('<td class="right">2</td>');
  expect(html).not.toContain("style=");
});
