#!/usr/bin/env python3
"""Validate JSON reports against the schemas of the repository.

usage: check_schemas.py SCHEMA_DIR FILE_OR_DIR ...      exit 0 all valid, 1 not, 77 jsonschema is not installed
A document names its schema itself: "schema": "pygc.leaks/1" is leaks.1.schema.json.
"""
import json
import os
import sys
import warnings

try:
    import jsonschema
except ImportError:
    print("python3-jsonschema is not installed: skipped")
    sys.exit(77)


def documents(paths):
    for path in paths:
        if os.path.isdir(path):
            for name in sorted(os.listdir(path)):
                if name.endswith(".json"):
                    yield os.path.join(path, name)
        else:
            yield path


def main():
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    schemas = {}
    for name in os.listdir(sys.argv[1]):
        if name.endswith(".schema.json"):
            with open(os.path.join(sys.argv[1], name), encoding="utf-8") as f:
                schemas[name] = json.load(f)
            jsonschema.Draft202012Validator.check_schema(schemas[name])
    warnings.simplefilter("ignore", DeprecationWarning)  # RefResolver: the way that also versions before 4.18 have
    store = {s["$id"]: s for s in schemas.values()}
    bad = seen = 0
    for path in documents(sys.argv[2:]):
        with open(path, "rb") as f:
            raw = f.read()
        if any(b >= 0x80 for b in raw):
            print("%s: not ASCII" % path)
            bad += 1
        document = json.loads(raw)
        command, version = document["schema"][len("pygc."):].split("/")
        schema = schemas.get("%s.%s.schema.json" % (command, version))
        if schema is None:
            print("%s: no schema %s" % (path, document["schema"]))
            bad += 1
            continue
        resolver = jsonschema.RefResolver(schema["$id"], schema, store)
        errors = list(jsonschema.Draft202012Validator(schema, resolver=resolver).iter_errors(document))
        for e in errors[:10]:
            print("%s: %s: %s" % (path, "/".join(map(str, e.absolute_path)), e.message))
        bad += bool(errors)
        seen += 1
    print("%d documents, %d bad" % (seen, bad))
    return 1 if bad or not seen else 0


sys.exit(main())
