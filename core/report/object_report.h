// The reports of `pygc show`, `referents` and `referrers`: one object, and its direct references in both directions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

/// One reference, seen from the object that the report is about: the other end, and the place that holds it.
struct ReferenceRow {
  std::string kind = "object";   // what holds it: "object", or a root: "frame", "module", "thread", "interpreter", "static", ...
  std::optional<Address> address;  // of the other object; nullopt for a root
  std::string type, name;        // of the other object; its name where it has one; a root's place
  std::string label;             // ".attr", "['key']", "[3]", "local x"; raw; empty: not known
  std::string value;             // of the other object, where values are shown
  std::optional<std::uint64_t> size;  // bytes of the other object
  bool visited = true;           // gc.get_referents() names it; false: the owner holds it, and its tp_traverse does not show that
};

/// What is known of the object at an address; also of an address where none lies.
struct ObjectCard {
  Address address = 0;
  bool is_object = false;
  std::string where;  // no object: what lies there
  std::string type, name;
  std::string value;  // as repr would show it
  bool value_complete = true, value_exact = true;
  std::string value_bounds;   // how much of a value is written at most, where all was asked for and this is not all; empty
  bool value_hidden = false;  // by --redact: then it is not exact either
  std::optional<std::uint64_t> size, length, refcount;
  bool immortal = false, tracked = false, in_graph = false;
  std::string generation;  // "0", "1", "2", "permanent", ...; empty: untracked
  std::string state;       // "reachable", "unreachable", "uncollectable"; empty: not known
  std::string finalizer, finalizer_state;  // "__del__"; "not run", "has run", "resurrected"
  std::string quality;     // how exactly its references are known: "exact", ...
  std::vector<std::pair<std::string, std::string>> details;  // "file": "app.py", "line": "12", "fd": "3"
  std::vector<std::string> allocated;  // "app.py:12", the most recent call first; empty: not traced
  std::vector<std::string> traceback;  // of an exception or a traceback: "f() at app.py:12", the most recent call last, as Python prints it
  std::uint64_t traceback_count = 0;   // of all entries
  std::vector<ReferenceRow> fields, owners;
  std::uint64_t field_count = 0, owner_count = 0;  // of all
  std::optional<std::uint64_t> references_found;    // to it, roots included; nullopt: not counted

};

struct ShowReport {
  std::vector<ObjectCard> objects;
};

/// `referents` or `referrers`: the header says which.
struct ReferencesReport {
  ObjectCard object;  // without fields and owners
  std::uint64_t reference_count = 0;
  std::vector<ReferenceRow> references;
  bool outgoing = true;
};

void WriteText(const Header& header, const ShowReport& report, TextWriter& out);
void WriteJson(const Header& header, const ShowReport& report, JsonWriter& json);
void WriteText(const Header& header, const ReferencesReport& report, TextWriter& out);
void WriteJson(const Header& header, const ReferencesReport& report, JsonWriter& json);

}  // namespace pygc::report
