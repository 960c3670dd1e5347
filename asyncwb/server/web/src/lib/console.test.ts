import { expect, test } from "vitest";
import { plainLine } from "./console";

test("colours are taken out, and the last state of a progress bar is shown", () => {
  expect(plainLine("\u001b[1;31merror\u001b[0m: \u001b]0;title\u0007no")).toBe("error: no");
  expect(plainLine(" 10%\r 50%\r100% done\r")).toBe("100% done");
  expect(plainLine("plain [0m text")).toBe("plain [0m text");
});
