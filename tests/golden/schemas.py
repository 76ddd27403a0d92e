#!/usr/bin/env python3
"""Prints the schemas that stand in the jar of kafka-clients, in the form that tests/golden_wire.rs prints the declarations in.

    schemas.py JARS MESSAGE...

One line per message and field, indented by depth:
    FetchRequest 4-18 flexible 12
      replica_id int32 4-14 = -1
Versions are cut to those of the message and of the structure around; a default is left out if it is zero, empty, false or null.
"""

import glob
import json
import re
import sys
import zipfile

NO_END = 32767


def span(text):
    """Kafka's notation of versions: 4, 4-7, 4+, none."""
    if text == "none":
        return None
    first, plus, last = re.fullmatch(r"(\d+)(?:(\+)|-(\d+))?", text).groups()
    return int(first), NO_END if plus else int(last or first)


def cut(inner, outer):
    if inner is None:
        return None
    first, last = max(inner[0], outer[0]), min(inner[1], outer[1])
    return (first, last) if first <= last else None


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def default(field):
    text = str(field.get("default", "")).lower()
    if re.fullmatch(r"-?(0x)?[0-9a-f]+", text) and not field["type"].startswith("string"):
        text = str(int(text, 0))
    return "" if text in ("", "0", "null", "false") else f" = {text}"


def fields(of, outer, common, depth):
    for field in of:
        versions = cut(span(field["versions"]), outer)
        if versions is None:
            continue
        line = f"{'  ' * depth}{snake(field['name'])} {field['type']} {versions[0]}-{versions[1]}"
        nulls = cut(span(field.get("nullableVersions", "none")), versions)
        if nulls:
            line += f" null {nulls[0]}-{nulls[1]}"
        if "tag" in field:
            assert span(field["taggedVersions"])[0] <= versions[0], "a field that became tagged later"
            line += f" tag {field['tag']}"
        print(line + default(field))
        inner = field.get("fields", common.get(field["type"].removeprefix("[]"), []))
        fields(inner, versions, common, depth + 1)


def main():
    jars, *names = sys.argv[1:]
    [path] = [path for path in glob.glob(f"{jars}/kafka-clients-*.jar") if "test" not in path]
    with zipfile.ZipFile(path) as jar:

        def schema(name):
            text = jar.read(f"common/message/{name}.json").decode()
            return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))

        for name in names:
            message = schema(name)
            first, last = span(message["validVersions"])
            # Only the request says so, for both.
            last -= schema(name.replace("Response", "Request")).get("latestVersionUnstable", False)
            flexible = span(message["flexibleVersions"])
            print(f"{name} {first}-{last} flexible {flexible[0] if flexible else 'never'}")
            common = {struct["name"]: struct["fields"] for struct in message.get("commonStructs", [])}
            fields(message["fields"], (first, last), common, 1)


if __name__ == "__main__":
    main()
