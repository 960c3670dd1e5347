"""Keep the README's table of results equal to the newest results of the benchmarks.

    python .ci/readme_table.py            write the table into README.md
    python .ci/readme_table.py --check    print the drift and exit with 1 if there is any

The rows are those of `python -m bench report` that have a target; without results there are none.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `bench` is a folder of the repository, and is not installed

from bench import cases, report, results  # noqa: E402

README = ROOT / "README.md"
PLACE = re.compile(r"(?s)(<!-- results: begin -->\n).*?(<!-- results: end -->)")


def table() -> str:
    """Give what stands between the README's marks: nothing while there are no results."""
    if not results.LATEST.exists():
        return ""
    lines = report.render(results.load(results.LATEST), cases.CASES).splitlines()
    rows = [line for line in lines if not line.startswith("| ") or _has_target(line)]
    more = "All figures: `python -m bench report`, or [the results](bench/results/latest.json)."
    return "\n" + "\n".join(rows) + f"\n\n{more}\n\n"


def _has_target(line: str) -> bool:
    """Tell whether a row says what was to be reached (the head of the table does, too)."""
    return bool(line.split("|")[-3].strip())


def main(arguments: list[str] | None = None) -> int:
    """Write or check the table; give the exit status."""
    parser = argparse.ArgumentParser(description="Keep the README's table of results up to date.")
    parser.add_argument("--check", action="store_true", help="print the drift, write nothing")
    check = parser.parse_args(arguments).check
    found = README.read_text()
    wanted, places = PLACE.subn(lambda m: m[1] + table() + m[2], found)
    if places != 1:
        sys.exit("README.md lacks the marks '<!-- results: begin -->' and '<!-- results: end -->'")
    if wanted == found:
        return 0
    if check:
        print("\n".join(difflib.unified_diff(found.splitlines(), wanted.splitlines(), lineterm="")))
        return 1
    README.write_text(wanted)
    print("wrote the table of results into README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
