"""Reads the tree for the linter: which files there are, C text without comments, and where functions are.

The functions found are those of this project's format (the brace that opens a function stands alone in column 0,
the one that closes it too), which the rule `format` enforces; this is no parser of C.
"""

import os
import re
import subprocess

C_ENDINGS = (".c", ".h", ".cpp")
CODE_ENDINGS = C_ENDINGS + (".lua", ".py", ".sh")
TEXT_ENDINGS = CODE_ENDINGS + (".md", ".cmake", ".in", ".map", ".txt")

# Files that break the rules on purpose.
PLANTED = "tests/lint/planted/"


class Tree:
    """A project folder. Paths are relative to it, with forward slashes."""

    def __init__(self, root):
        self.root = root
        self.files = [f for f in sorted(self._list()) if not f.startswith(PLANTED)]
        self._texts = {}

    def _list(self):
        if os.path.exists(os.path.join(self.root, ".git")):
            listed = subprocess.run(
                ["git", "-C", self.root, "ls-files", "-z", "-co", "--exclude-standard"],
                check=False,
                capture_output=True,
            )
            # git refuses a folder of another user: then what lies there counts.
            if listed.returncode == 0:
                names = [name for name in listed.stdout.decode().split("\0") if name]
                return [name for name in names if os.path.isfile(os.path.join(self.root, name))]
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if f != "build" and not f.startswith(".")]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return found

    def select(self, endings, folders=("",)):
        return [f for f in self.files if f.endswith(endings) and f.startswith(tuple(folders))]

    def scripts(self):
        """Files without an ending that begin with #!."""
        return [f for f in self.files if "." not in os.path.basename(f) and self.text(f).startswith("#!")]

    def path(self, name):
        return os.path.join(self.root, name)

    def text(self, name):
        if name not in self._texts:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                self._texts[name] = file.read()
        return self._texts[name]

    def lines(self, name):
        return self.text(name).split("\n")


_TOKENS = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'",
    re.S,
)


def without_comments(text):
    """C text with comments and the insides of literals blanked; every line keeps its number."""

    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] + " " * (len(token) - 2) + token[0]
        return re.sub(r"[^\n]", " ", token)

    return _TOKENS.sub(blank, text)


def functions(text):
    """Yields (name, first line, lines between its braces) of each function in C text."""
    lines = without_comments(text).split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{" and start is None:
            head = " ".join(lines[max(0, number - 12) : number - 1]).rstrip()
            # The braces of namespaces and of extern "C" hold functions, they are none.
            if head.endswith(")"):
                start = (number, _name(head))
        elif line.startswith("}") and start is not None:
            yield start[1], start[0], number - start[0] - 1
            start = None


def _name(head):
    """The name before the parameter list that ends `head`."""
    depth = 0
    for at in range(len(head) - 1, -1, -1):
        if head[at] == ")":
            depth += 1
        elif head[at] == "(":
            depth -= 1
            if depth == 0:
                match = re.search(r"(\w+)\s*$", head[:at])
                return match.group(1) if match else "?"
    return "?"
