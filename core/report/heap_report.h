// The reports of `pygc heap` (a histogram by type) and `pygc dominators` (who retains how much).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

struct HeapRow {
  std::string type;
  std::uint64_t objects = 0, bytes = 0;  // bytes as sys.getsizeof() says them
  std::uint64_t retained = 0;            // bytes that the type's objects one by one keep alive, nothing counted twice; together they may keep more
  std::uint64_t unreachable = 0;         // of the objects
  std::uint64_t only_unreachable = 0;    // of the objects, not tracked: those that only unreachable ones refer to
  std::uint64_t traced_blocks = 0, traced_bytes = 0;  // by site: what tracemalloc says of that line, blocks that are no objects included
};

/// One object, or the objects of one type together, that keep a large part of what is in use.
struct Suspect {
  std::string type;
  std::uint64_t objects = 1;             // 1: the one at `address`
  Address address = 0;                   // 0: a group
  std::string name;                      // of the object, where it has one
  std::uint64_t retained = 0, retained_objects = 0;
  Address pile = 0;                      // where it piles up: the deepest object that still keeps most of it; 0: a group
  std::string pile_type;
  std::uint64_t pile_retained = 0, pile_parts = 0;  // what that keeps, in how many objects directly below it
  std::uint64_t nested = 0;              // objects of its type, this one included, of which each keeps the next; 0: no such chain
  bool by_place = false;                 // a group of objects that the path leads to, of several types: `type` is that of what the path ends with
  std::string path, expression;          // to the pile, or to one of the group; the expression is empty where none can be written
  std::vector<std::string> keywords;     // types and names to search for
  struct Contents {
    std::string type;
    std::uint64_t objects = 0;
  };
  std::vector<Contents> contents;        // classes of the program among what it keeps, the nearest to it first, a few
};
/// "600 app.Session, 600 app.Profile"
[[nodiscard]] std::string ContentsText(const Suspect& suspect);
/// "suspects": a member of an object that is open.
void WriteSuspects(const std::vector<Suspect>& suspects, JsonWriter& json);

/// The tables of all containers of one kind.
struct ContainerWaste {
  std::string kind;                       // "list", "dict", "set"
  std::uint64_t objects = 0, empty = 0;   // empty: without an entry
  std::uint64_t capacity = 0, used = 0;   // entries, of tables that the containers own
  std::uint64_t unused_bytes = 0;
  struct Largest {
    Address address = 0;
    std::string type;
    std::uint64_t capacity = 0, used = 0, unused_bytes = 0;
  };
  std::vector<Largest> largest;           // by unused bytes
};

/// Objects that are equal and immutable: one would do.
struct Duplicate {
  std::string kind;       // "str", "tuple"
  std::uint64_t objects = 0, bytes = 0, surplus_bytes = 0;  // of all; of all but one
  std::uint64_t length = 0;
  Address example = 0;
  std::optional<std::string> value;  // of a str, where values are asked for; its beginning
};

/// Where the memory of the process went. Parts do not overlap; all bytes of the memory that is at hand and of its pages of zeroes are in exactly one.
/// A page of zeroes may have been reserved only, never touched, or filled with zeroes: a core does not tell. What of these is at hand depends on who wrote it,
/// so they stand in the text and in a warning, not in the result of JSON.
struct MemoryPart {
  std::string what;         // "pymalloc: blocks in use"
  std::uint64_t bytes = 0, zero_bytes = 0;  // in pages that hold something; in pages of zeroes
  std::optional<std::uint64_t> count;  // of blocks, chunks, ranges
};
struct MemoryUse {
  std::vector<MemoryPart> parts;
  std::uint64_t bytes = 0;                 // sum of the parts
  std::uint64_t zero_bytes = 0;            // in pages of zeroes that could be written to
  std::uint64_t reserved_bytes = 0;        // of zeroes that could not: address space without access
  std::uint64_t file_bytes = 0;            // memory that was read from files instead: not resident for sure, not in `bytes`
  std::uint64_t object_bytes = 0, objects = 0;  // all objects found, as sys.getsizeof() says them; they lie in the parts
  std::vector<std::string> notes;          // what could not be told apart
};

struct HeapReport {
  std::string by = "type";  // or "module", "site": then `type` of a row is a module, a line of the program
  std::uint64_t traced_blocks = 0, traced_bytes = 0;  // by site: of all that tracemalloc traced
  std::string no_sites;                               // by site: why no line is known
  std::vector<Suspect> suspects;
  std::uint64_t reachable_bytes = 0;  // what is in use: suspects are shares of it
  std::optional<std::vector<ContainerWaste>> containers;  // where asked for, as the next two
  std::optional<std::vector<Duplicate>> duplicates;
  std::uint64_t duplicate_bytes = 0;                      // of all duplicates, also those not listed: what one of each would save
  std::optional<MemoryUse> memory;
  bool with_retained = true;  // false: stopped before that was known
  bool guessed = false;       // references of some objects are
  std::uint64_t objects = 0, bytes = 0;                    // all that pass the filters
  std::uint64_t unreachable = 0, unreachable_bytes = 0;    // of these
  std::uint64_t only_unreachable = 0, only_unreachable_bytes = 0;  // objects that the collector does not track and that only unreachable ones refer to
  std::uint64_t unknown_sizes = 0;                         // objects whose size cannot be known
  struct UnknownSize {
    std::string type;
    std::uint64_t objects = 0;
  };
  std::vector<UnknownSize> unknown_types;                  // whose they are, the most first, a few
  std::uint64_t type_count = 0;
  std::vector<HeapRow> rows;  // largest first
  std::vector<std::string> nearest_types;  // where no object passes and types were named: those that were perhaps meant
};

struct Dominator {
  std::uint32_t depth = 0;
  Address address = 0;
  std::string type, name;
  std::uint64_t size = 0, retained = 0, objects = 0;  // bytes of its own, bytes and objects that it alone keeps alive, itself included
  std::string path;                                   // where it hangs, "sys.modules['app'].CACHE"; empty where that was not asked for
  std::uint64_t hidden = 0, hidden_bytes = 0;         // objects directly below it in the tree that are no rows, and what they retain
};

/// What hangs on one root, or on one of its kind: the objects that nothing but roots dominates, each by the root that its shortest path starts from.
struct RootShare {
  std::string kind;  // as `roots.kind` of the export, or "count-only"
  std::string name;  // of a module, "module app"; of frames "frames of thread 4711"; empty: all of the kind
  std::uint64_t retained = 0, objects = 0;
};

struct DominatorsReport {
  std::uint64_t objects = 0, bytes = 0;  // reachable ones
  std::uint64_t top_count = 0;           // objects that nothing but a root dominates
  std::vector<Dominator> rows;           // depth first
  bool guessed = false;                  // references of some objects are
  std::vector<RootShare> by_root;        // largest first; all of them together are `objects` and `bytes`. Empty where paths were not found
  std::uint64_t roots_shown = 0;         // of these, in text
};

/// "66.8 MB in pages of zeroes ...": what `bytes` leaves out; empty where it leaves out nothing.
[[nodiscard]] std::string ZeroPagesText(const MemoryUse& use);

void WriteText(const Header& header, const HeapReport& report, TextWriter& out);
void WriteJson(const Header& header, const HeapReport& report, JsonWriter& json);
/// The rows of the histogram, as `sql` writes CSV.
[[nodiscard]] std::string WriteCsv(const HeapReport& report);
void WriteText(const Header& header, const DominatorsReport& report, TextWriter& out);
void WriteJson(const Header& header, const DominatorsReport& report, JsonWriter& json);

}  // namespace pygc::report
