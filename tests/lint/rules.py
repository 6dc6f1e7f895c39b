"""The rules about source text. A rule takes a Tree and yields one line of text per violation."""

import collections
import re
import shutil
import subprocess

from source import C_ENDINGS, CODE_ENDINGS, TEXT_ENDINGS, functions, without_comments

FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70

TOP_LEVEL = {"CMakeLists.txt", "README.md", "LICENSE", "core", "abi", "bindings", "lua", "tests", "examples"}


def top_level(tree):
    """At the top level only the agreed names, and names that begin with a dot."""
    names = {f.split("/")[0] for f in tree.files}
    for name in sorted(names):
        if name not in TOP_LEVEL and not name.startswith("."):
            yield "%s: not one of the agreed names" % name


# ---- who includes what

_INCLUDE = re.compile(r"^\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", re.M)

# Headers of libraries, and the folders that may include them. Tests may include anything.
LIBRARY_HEADERS = [
    (re.compile(r"^rocksdb/"), ("core/rocks/",)),
    (re.compile(r"^simdjson"), ("core/json/",)),
    (re.compile(r"^openssl/"), ("core/base/", "core/codec/")),
    (re.compile(r"^uuid/"), ("core/base/",)),
    (
        re.compile(r"^(pthread|threads|netdb|poll|sys/(socket|select|epoll|random))\.h$"),
        ("core/base/", "bindings/", "examples/"),
    ),
    (re.compile(r"^(lua|lauxlib|lualib)\.h"), ("bindings/",)),
]


def read_layers(tree):
    layers = {}
    for line in tree.lines("core/LAYERS"):
        line = line.split("#")[0].strip()
        if line:
            room, _, below = line.partition(":")
            layers[room.strip()] = set(below.split())
    return layers


def includes(tree, name):
    """(line number, is quoted, header) of each include of a file."""
    text = tree.text(name)
    for match in _INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1) == '"', match.group(2)


def _room(name):
    parts = name.split("/")
    if parts[0] == "core":
        return parts[1] if len(parts) > 2 else None
    return parts[0]


def layers(tree):
    """Rooms include only the rooms that core/LAYERS gives them; the rest of the project sees tito.h alone."""
    below = read_layers(tree)
    for name in tree.select(C_ENDINGS, ("core/", "abi/", "bindings/", "examples/")):
        room = _room(name)
        if room in ("bindings", "examples"):
            allowed = set()
        elif room not in below:
            yield "%s: its room is not in core/LAYERS" % name
            continue
        else:
            allowed = below[room] | {room}
        for line, quoted, header in includes(tree, name):
            problem = _include_problem(below, room, allowed, quoted, header)
            if problem:
                yield "%s:%d: %s" % (name, line, problem)


# Quoted headers that no room owns: a library's, and those made of .proto files in the build folder.
_FOREIGN = re.compile(r"^simdjson|\.pb-c\.h$")


def _include_problem(below, room, allowed, quoted, header):
    first = header.split("/")[0]
    if "/" in header and first in below:
        if first not in allowed:
            return "%s may not include %s" % (room, header)
        if header.endswith("_int.h") and first != room:
            return "%s is private to core/%s" % (header, first)
    elif quoted and room in below and room != "abi" and "/" not in header and not _FOREIGN.search(header):
        return '"%s": headers are included by room, as "%s/%s"' % (header, room, header)
    elif quoted and header.startswith("../"):
        return '"%s" leaves its folder' % header
    return None


def library_headers(tree):
    """Each library is known to one room: rocksdb, simdjson, libcrypto, libuuid, threads, sockets, Lua."""
    for name in tree.select(C_ENDINGS, ("core/", "abi/", "bindings/", "examples/")):
        for line, _, header in includes(tree, name):
            for pattern, folders in LIBRARY_HEADERS:
                if pattern.search(header) and not name.startswith(folders):
                    yield "%s:%d: <%s> belongs to %s" % (name, line, header, " ".join(folders))


# ---- calls

_UNSAFE = "strcpy strcat strncpy strncat sprintf vsprintf gets strtok alloca"
_BASE_ONLY = (
    _UNSAFE
    + """ malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf
    atoi atol atoll atof scanf sscanf strtol strtoul strtoll strtoull strtod strtof strtold strerror perror
    time clock gettimeofday clock_gettime localtime gmtime ctime mktime sleep usleep nanosleep clock_nanosleep
    rand srand rand_r random srandom drand48 getrandom getentropy socket getaddrinfo
    printf fprintf vfprintf puts system popen fork exit getenv setenv signal sigaction"""
)


def _call_pattern(names, more=""):
    return re.compile(r"(?<![\w.>])(?:%s%s)\s*\(" % ("|".join(names.split()), more))


_BASE_ONLY_CALL = _call_pattern(_BASE_ONLY, r"|pthread_\w+|mtx_\w+|thrd_\w+|cnd_\w+")
_UNSAFE_CALL = _call_pattern(_UNSAFE)


def banned_calls(tree):
    """Memory, text, time, chance, threads, sockets and the process only through core/base; unsafe calls nowhere."""
    for name in tree.select(C_ENDINGS, ("core/", "abi/", "bindings/", "examples/", "tests/")):
        if name.startswith("core/base/"):
            continue
        pattern = _BASE_ONLY_CALL if name.startswith(("core/", "abi/")) else _UNSAFE_CALL
        for number, line in enumerate(without_comments(tree.text(name)).split("\n"), 1):
            for match in pattern.finditer(line):
                yield "%s:%d: %s is banned here" % (name, number, match.group(0).rstrip("( "))


# ---- shape

def file_length(tree):
    """No source file is longer than 700 lines."""
    for name in tree.select(CODE_ENDINGS) + tree.scripts():
        count = tree.text(name).count("\n")
        if count > FILE_LINES_MAX:
            yield "%s: %d lines, at most %d" % (name, count, FILE_LINES_MAX)


def function_length(tree):
    """No C function is longer than 70 lines."""
    for name in tree.select(C_ENDINGS):
        for function, line, count in functions(tree.text(name)):
            if count > FUNCTION_LINES_MAX:
                yield "%s:%d: %s has %d lines, at most %d" % (name, line, function, count, FUNCTION_LINES_MAX)


def design_comment(tree):
    """Every C file of the library and its bindings opens with a comment that says what it is for."""
    for name in tree.select(C_ENDINGS, ("core/", "abi/", "bindings/")):
        first = next((line for line in tree.lines(name) if line.strip()), "")
        if not first.startswith(("/*", "//")):
            yield "%s: opens without a comment" % name


def readme(tree):
    """Every folder of the first two levels has a README.md."""
    folders = set()
    for name in tree.files:
        parts = name.split("/")[:-1]
        if parts and not parts[0].startswith("."):
            folders.add(parts[0])
            folders.add("/".join(parts[:2]))
    for folder in sorted(folders):
        if folder + "/README.md" not in tree.files:
            yield "%s: no README.md" % folder


_LEFT_OVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


def left_over(tree):
    """Nothing is left for later in the text."""
    for name in tree.select(TEXT_ENDINGS) + tree.scripts():
        for number, line in enumerate(tree.lines(name), 1):
            if _LEFT_OVER.search(line):
                yield "%s:%d: %s" % (name, number, line.strip())


def whitespace(tree):
    """No tabs, no space at the end of a line, one newline at the end of a file."""
    for name in tree.select(TEXT_ENDINGS) + tree.scripts():
        text = tree.text(name)
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip() or "\t" in line:
                yield "%s:%d: tab or trailing space" % (name, number)
        if text.strip() and (not text.endswith("\n") or text.endswith("\n\n")):
            yield "%s: does not end with one newline" % name


_DECLARATION = re.compile(r"^TITO_API\b")


def abi_comments(tree):
    """Every function of the interface has a comment, its own or that of the block of declarations it stands in."""
    for header in tree.select((".h",), ("abi/tito",)):
        yield from _undescribed(tree, header)


def _undescribed(tree, header):
    lines = tree.lines(header)
    for number, line in enumerate(lines, 1):
        if not _DECLARATION.match(line):
            continue
        above = number - 2
        while above >= 0 and lines[above].strip() and not lines[above].rstrip().endswith("*/"):
            above -= 1
        if above < 0 or not lines[above].rstrip().endswith("*/"):
            yield "%s:%d: no comment: %s" % (header, number, line)


# ---- other programs

def _run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **options)


def _missing(program):
    return "" if shutil.which(program) else "%s is not installed" % program


def clang_format(tree):
    """C text is formatted as .clang-format says."""
    names = tree.select(C_ENDINGS)
    if _missing("clang-format"):
        yield _missing("clang-format")
        return
    for start in range(0, len(names), 50):
        result = _run(["clang-format", "--dry-run", "-Werror", *names[start : start + 50]], cwd=tree.root)
        counts = collections.Counter(re.findall(r"^(\S+?):\d+:\d+: error:", result.stderr, re.M))
        for name, count in counts.items():
            yield "%s: %d places; clang-format -i mends them" % (name, count)
        if result.returncode != 0 and "error:" not in result.stderr:
            yield "clang-format: " + result.stderr.strip()


def luacheck(tree):
    """luacheck finds nothing in the Lua files."""
    names = tree.select((".lua",))
    if not names:
        return
    if _missing("luacheck"):
        yield _missing("luacheck")
        return
    result = _run(["luacheck", "--no-color", "--codes", "--formatter", "plain", "--no-cache", *names], cwd=tree.root)
    if result.returncode != 0:
        yield from (line for line in (result.stdout + result.stderr).split("\n") if line.strip())


def shell_syntax(tree):
    """Shell scripts parse, those for sh in a POSIX shell."""
    for name in tree.select((".sh",)) + tree.scripts():
        first = tree.lines(name)[0]
        shell = "bash" if "bash" in first else "sh"
        if name.endswith(".sh") or first.endswith("sh"):
            result = _run([shell, "-n", tree.path(name)])
            if result.returncode != 0:
                yield "%s: %s" % (name, result.stderr.strip())


def python_syntax(tree):
    """Python files compile."""
    for name in tree.select((".py",)):
        try:
            compile(tree.text(name), name, "exec")
        except SyntaxError as error:
            yield "%s: %s" % (name, error)


RULES = {
    "top-level": top_level,
    "layers": layers,
    "library-headers": library_headers,
    "banned-calls": banned_calls,
    "file-length": file_length,
    "function-length": function_length,
    "design-comment": design_comment,
    "readme": readme,
    "left-over": left_over,
    "whitespace": whitespace,
    "abi-comments": abi_comments,
    "format": clang_format,
    "luacheck": luacheck,
    "shell-syntax": shell_syntax,
    "python-syntax": python_syntax,
}
