// A line of a terminal as text: colours and cursor moves are taken out, and of what was written
// over with a carriage return (a progress bar) the last counts.

const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;

export function plainLine(line: string): string {
  const text = line.replace(ESCAPES, "").replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1);
}
