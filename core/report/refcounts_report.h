// The report of `pygc refcounts`: how many counts were judged, and each that does not agree with the references found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/leaks_report.h"

namespace pygc::report {

struct CountHolder {
  Address object = 0;  // 0: no object holds it
  std::string type;
  std::string place;   // ".attr", "PyInterpreterState imports.modules"
};

struct RefcountFinding {
  std::string kind;  // "deficit", "surplus", "lost"
  Address object = 0;
  std::string type;
  std::string text;  // a short safe label, may be empty
  std::uint64_t recorded = 0, known = 0, possible = 0;
  std::vector<CountHolder> holders;  // some of those that are known
  std::vector<CountHolder> words;    // --all: where words lie that may be references
  std::string cause;                 // of a known leak: file, function, what it does
  bool freed = false;                // its memory was given back; type is empty where nothing is left to tell it
  std::string through = {};          // DeficitType::type, or empty
  std::uint64_t bytes = 0;           // its own; 0 where that cannot be known
  std::uint64_t bytes_with_held = 0; // and of what hangs on it
  std::uint64_t alike = 0;           // text: findings behind this one that differ from it in the object alone and are not shown
  std::vector<TypeCount> held = {};  // "lost": objects that hang on it, most bytes first. One that hangs on several stands with one of them
};

/// A C type through whose tp_traverse several deficits come: one finding about the type, beside those of the objects.
struct DeficitType {
  std::string type, module;
  std::uint64_t objects = 0, references = 0;
  std::string visited_twice;  // a place of its instances that is visited more than once: the mistake itself; empty where none was seen
};

struct NotAudited {
  std::string reason;  // "immortal"
  std::string text;    // for people
  std::uint64_t objects = 0;
};

struct RefcountsReport {
  std::uint64_t objects = 0, audited = 0, exact = 0, explained = 0, unverified = 0, unconfirmed = 0;
  std::uint64_t accounted = 0;  // `exact`, those with exactly one variable of C code for each reference that is not known, and those that a known leak holds
  std::uint64_t hidden_cycles = 0;  // counts are right, but nothing real leads there; `pygc leaks --audit` shows them
  std::uint64_t native_blocks = 0, native_unreached = 0;  // given out to C code; of these: nothing leads to them
  std::uint64_t deficits = 0, surpluses = 0, lost = 0;  // all of them
  std::vector<NotAudited> not_audited;
  std::vector<DeficitType> deficit_types;
  std::vector<RefcountFinding> findings;   // at most as many as asked for
  std::vector<RefcountFinding> known;      // wrong counts of CPython itself and of extensions that are known and cited: no findings
  std::uint64_t known_count = 0;
  std::vector<RefcountFinding> in_flux;    // a running thread has the object in hand: no findings
  std::uint64_t baseline_count = 0;        // findings that --baseline left out
  bool all = false;
  std::vector<RefcountFinding> explained_list;  // --all: counts that words explain, and what looks like an object and has nothing but words
  std::uint64_t explained_left_out = 0;         // beyond the limit
  std::vector<std::string> limits;         // what could not be searched, and what that means
  std::uint64_t searched_bytes = 0, blocks = 0;
};

void WriteText(const Header& header, const RefcountsReport& report, TextWriter& out);
void WriteJson(const Header& header, const RefcountsReport& report, JsonWriter& json);

}  // namespace pygc::report
