"""A `change_command` to try: ruff's mechanical fixes for speed, in the files that the brief names, one commit each.

They are those that ruff calls unsafe as well (a comment may go, an iterator may be used up elsewhere): it is tested and tried.

    [targets.shop]
    change_command = ["python", "/path/to/lab/change_command.py"]

It shows the whole contract: a brief as JSON on standard input, a worktree as the working directory, commits as the answer. A coding agent
is plugged in the same way (docs/trials.md).
"""

import json
import subprocess
import sys
from pathlib import Path

RULES = "PERF,C4,FURB"


def main() -> int:
    brief = json.load(sys.stdin)
    files = list(dict.fromkeys(one["file"] for one in brief["locations"] if one["file"].endswith(".py") and Path(one["file"]).is_file()))
    commits = 0
    for file in files:
        how = ["--isolated", "--preview", f"--select={RULES}", "--fix", "--unsafe-fixes", "--quiet"]
        fix = [sys.executable, "-m", "ruff", "check", *how, file]
        subprocess.run(fix, check=False, stdout=sys.stderr)
        if not subprocess.run(["git", "diff", "--quiet", "--", file], check=False).returncode:
            continue
        who = ["-c", "user.name=ruff", "-c", "user.email=ruff@localhost"]
        subprocess.run(["git", *who, "commit", "--quiet", "-m", f"{brief['title']}: mechanical fixes in {file}", "--", file], check=True)
        commits += 1
    print(f"{commits} of {len(files)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
