"""
A file is a noun and a function fits on a screen: no .c file over 600 lines, no function over 80. A file of tests may
have 800, because its fixture comes with it.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: FOLDER: lines of a file
FILE_MAX = {"libfdpass": 600, "broker": 600, "tests": 800}
FUNCTION_MAX = 80
#: mostly a table
LONGER = {"tests/unit/test_config_components.c": 100}
#: begins in column 0 with a letter and ends in "{": the formatter makes it so
BEGIN = re.compile(r"^[A-Za-z_].*\)\s*\{$|^ .*\)\s*\{$")


def functions(lines):
    begin = None
    for number, line in enumerate(lines, 1):
        if begin is None and line.endswith(") {") and BEGIN.match(line) and not line.startswith("        "):
            begin = number
        elif line == "}" and begin is not None:
            yield begin, number - begin + 1
            begin = None


def main():
    wrong = []
    for folder, file_max in FILE_MAX.items():
        for file in sorted((ROOT / folder).rglob("*.c")):
            path = file.relative_to(ROOT)
            lines = file.read_text(encoding="utf-8").splitlines()
            function_max = LONGER.get(str(path), FUNCTION_MAX)
            if len(lines) > file_max:
                wrong.append(f"{path}: {len(lines)} lines; split it by noun (at most {file_max})")
            wrong += [f"{path}:{line}: a function of {size} lines (at most {function_max})"
                      for line, size in functions(lines) if size > function_max]
            if folder != "tests" and (not lines or not lines[0].startswith("/*")):
                wrong.append(f"{path}: begins without saying what it is and relies on")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
