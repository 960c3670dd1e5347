import { afterEach, expect, test, vi } from "vitest";
import { SeriesLoader } from "./loader";

afterEach(() => vi.unstubAllGlobals());

/** A server that has a series of one point for each key, but answers no address that names `bad`. */
function serve(bad: string): string[][] {
  const asked: string[][] = [];
  vi.stubGlobal("fetch", (url: string) => {
    const keys = new URL(url, "http://server").searchParams.getAll("key");
    asked.push(keys);
    if (keys.includes(bad)) {
      const error = { code: "bad_request", message: "no such key" };
      return Promise.resolve(Response.json({ error }, { status: 400 }));
    }
    const value = { min: [1], max: [1], mean: [1], last: [1], count: [1], valid: [1] };
    const point = { exact: true, rows: 1, x: [0], ...value };
    return Promise.resolve(Response.json({ series: keys.map((key) => ({ key, ...point })) }));
  });
  return asked;
}

function load(keys: string[]): { came: string[]; troubles: string[]; loader: SeriesLoader } {
  const [came, troubles]: [string[], string[]] = [[], []];
  const run = { entity: "e", project: "p", run: "r" };
  const question = { x: "_step", zoom: null } as const;
  const loader = new SeriesLoader(run, question, (error) => troubles.push(String(error)));
  for (const key of keys) loader.watch({ key, count: 1 }, 10, (series) => came.push(series.key));
  return { came, troubles, loader };
}

test("a key that the server refuses costs no other its chart", async () => {
  serve("b");
  const { came, troubles, loader } = load(["a", "b", "c"]);
  await vi.waitFor(() => expect(came).toEqual(["a", "c"]));
  expect(troubles).toEqual(["Error: no such key"]);
  loader.close();
});

test("the first charts are answered even where they fail, and not before any is in sight", async () => {
  serve("b");
  const { loader } = load([]);
  let answered = false;
  void loader.answered.then(() => (answered = true));
  loader.news();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(answered).toBe(false);
  loader.watch({ key: "b", count: 1 }, 10, () => undefined);
  await loader.answered;
  loader.close();
});

test("many keys are asked for at once, but long ones in addresses that a server takes", async () => {
  const asked = serve("none");
  const keys = [..."abcdefghijklmno", "é".repeat(600), "x".repeat(3000), "y".repeat(3000)];
  const { came, loader } = load(keys);
  await vi.waitFor(() => expect(came).toHaveLength(keys.length));
  expect(asked.map((some) => some.length)).toEqual([12, 4, 1, 1]);
  loader.close();
});
