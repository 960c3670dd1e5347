import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
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

test("a picture asks this server for files, and for nothing else", () => {
  const others = [
    "/login?token=abc",
    "/files/../login?token=abc",
    "/files/%2e%2e/login?token=abc",
    "/api/v1/viewer",
    "/filesystem/a.png",
    "/",
    "/\\example.org/a.png",
    "login",
    "?token=abc",
  ];
  for (const other of others) {
    const html = toHtml(`![the alt text](<${other}>)`);
    expect(html).not.toContain("<img");
    expect(html).toContain("the alt text");
  }
  expect(toHtml("![a](/files/me/../me/p/r/a.png?x=1&y)")).toContain(
    '<img src="/files/me/p/r/a.png?x=1&amp;y"',
  );
});

describe("under a path", () => {
  const meta = { getAttribute: () => "/tracker" };
  beforeEach(() => {
    vi.resetModules();
    vi.stubGlobal("document", { querySelector: () => meta });
  });
  afterEach(() => vi.unstubAllGlobals());

  test("pictures and links of this server lead there, however they were written", async () => {
    const { toHtml } = await import("./markdown");
    expect(toHtml("![a](/files/a.png) ![b](/tracker/files/b.png)")).toContain(
      '<img src="/tracker/files/a.png" alt="a" loading="lazy"> <img src="/tracker/files/b.png"',
    );
    expect(toHtml("![a](/tracker/login?token=abc)")).not.toContain("<img");
    expect(toHtml("[r](/me/p) [s](/tracker/me/p) [t](https://example.org/)")).toMatch(
      /"\/tracker\/me\/p".*"\/tracker\/me\/p".*"https:/,
    );
  });

  test("addresses of pages and of the API have it in front, and lose it when they are read", async () => {
    const { at, local } = await import("./base");
    const { apiPath } = await import("./api");
    expect([at("/files/a"), apiPath("runs", "a b")]).toEqual([
      "/tracker/files/a",
      "/tracker/api/v1/runs/a%20b",
    ]);
    expect(["/tracker", "/tracker/", "/tracker/a/b", "/trackers", "/a"].map(local)).toEqual([
      "/",
      "/",
      "/a/b",
      null,
      null,
    ]);
  });
});

test("tables are aligned without style attributes", () => {
  const html = toHtml("| a | b |\n|---|--:|\n| 1 | 2 |");
  expect(html).toContain('<td class="right">2</td>');
  expect(html).not.toContain("style=");
});
