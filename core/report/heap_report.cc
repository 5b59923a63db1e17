#include "core/report/heap_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"
#include "core/report/sql.h"

namespace pygc::report {
namespace {

constexpr const char* kPartialFigures = "counts and shallow bytes are lower bounds; what is retained is unverifiable, as references may be missing";

// Of the counts and shallow bytes, and of what is retained.
void WriteCertainties(const Header& h, bool guessed, JsonWriter& json) {
  const bool exact = h.complete && !guessed;
  json.String("certainty", CertaintyName(exact ? Certainty::kExact : guessed ? Certainty::kUnverifiable : Certainty::kLowerBound));
  json.String("retained_certainty", CertaintyName(exact ? Certainty::kExact : Certainty::kUnverifiable));
}

std::string Share(std::uint64_t part, std::uint64_t whole) { return whole == 0 ? "" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole)); }

void WriteSuspect(const Suspect& s, std::size_t number, std::uint64_t all, TextWriter& out) {
  out.Line();
  out.To(2).Add(fmt::format("Suspect {}", number), Style::kHeading).To(13);
  std::string words = s.address != 0 ? fmt::format("One {}{}{} at {:#x} keeps", s.type, s.name.empty() ? "" : " ", s.name, s.address)
                      : s.by_place   ? fmt::format("What {} leads to keeps, in {} parts,", s.expression.empty() ? s.path : s.expression, Thousands(s.objects))
                                     : fmt::format("{} objects of type {} together keep", Thousands(s.objects), s.type);
  const std::string in = s.address != 0 && s.retained_objects == 1 ? "" : fmt::format(" in {}", Counted(s.retained_objects, "object"));
  words += fmt::format(" {} of all that is in use: {}{}.", Share(s.retained, all), Bytes(s.retained), in);
  if (s.nested > 0) {
    words += fmt::format(" It is the first of {} objects of its type, each of which keeps the next.", Thousands(s.nested));
  } else if (s.pile != 0 && s.pile != s.address) {
    words += fmt::format(" It piles up in the {} at {:#x}, which keeps {} in {} directly below it.", s.pile_type, s.pile, Bytes(s.pile_retained), Counted(s.pile_parts, "object"));
  } else if (s.pile != 0 && s.pile_parts == 0) {
    words += " These bytes are its own: nothing else hangs on it.";
  } else if (s.pile != 0) {
    words += fmt::format(" It piles up there, in {} directly below it.", Counted(s.pile_parts, "object"));
  }
  if (!s.path.empty() && !s.by_place) words += fmt::format(" {} held by: {}", s.address != 0 ? "It is" : "One of them is", s.expression.empty() ? s.path : s.expression);
  out.Paragraph(words, 13);
  if (!s.contents.empty()) out.To(13).Add("with: ").Paragraph(ContentsText(s), 19);
  std::string keywords;
  for (const std::string& word : s.keywords) keywords += (keywords.empty() ? "" : ", ") + word;
  out.To(13).Add("keywords: ").Paragraph(keywords, 23);
}

void WriteContainers(const std::vector<ContainerWaste>& containers, TextWriter& out) {
  out.Line();
  out.Line("Room in containers that nothing is in", Style::kHeading);
  out.Line();
  Table table;
  table.right = {false, true, true, true, true, true, true};
  table.rows.push_back({"kind", "objects", "empty", "room for", "used", "fill", "unused"});
  for (const ContainerWaste& c : containers) {
    table.rows.push_back({c.kind, Thousands(c.objects), Thousands(c.empty), Thousands(c.capacity), Thousands(c.used), Share(c.used, c.capacity), Bytes(c.unused_bytes)});
  }
  table.Write(out, 2);
  for (const ContainerWaste& c : containers) {
    for (const ContainerWaste::Largest& l : c.largest) {
      out.To(4).Line(fmt::format("{} at {:#x}: room for {}, {} used, {} unused", l.type, l.address, Thousands(l.capacity), Thousands(l.used), Bytes(l.unused_bytes)));
    }
  }
}

void WriteDuplicates(const HeapReport& r, TextWriter& out) {
  out.Line();
  out.Line(fmt::format("Equal texts and tuples: one of each would save {}", Bytes(r.duplicate_bytes)), Style::kHeading);
  if (r.duplicates->empty()) return;
  out.Line();
  Table table;
  table.right = {false, true, true, true, true, false};
  table.rows.push_back({"kind", "objects", "bytes", "length", "surplus", "example"});
  for (const Duplicate& d : *r.duplicates) {
    table.rows.push_back({d.kind, Thousands(d.objects), Bytes(d.bytes), Thousands(d.length), Bytes(d.surplus_bytes),
                          fmt::format("{:#x}{}{}", d.example, d.value ? "  " : "", d.value ? "'" + *d.value + "'" : "")});
  }
  table.Write(out, 2);
}

void WriteMemory(const MemoryUse& m, TextWriter& out) {
  out.Line();
  out.Line(fmt::format("{} of memory hold something: the sum of these parts", Bytes(m.bytes)), Style::kHeading);
  if (const std::string zeroes = ZeroPagesText(m); !zeroes.empty()) out.To(2).Paragraph("not in it: " + zeroes, 2);
  out.Line();
  Table table;
  table.right = {true, true, true, true, false};
  table.rows.push_back({"bytes", "share", "zeroes", "count", "what"});
  for (const MemoryPart& p : m.parts) {
    table.rows.push_back({Bytes(p.bytes), Share(p.bytes, m.bytes), p.zero_bytes != 0 ? "+ " + Bytes(p.zero_bytes) : "", p.count ? Thousands(*p.count) : "", p.what});
  }
  table.Write(out, 2);
  out.To(2).Line(fmt::format("of all this {} are the {} themselves, as sys.getsizeof() says", Bytes(m.object_bytes), Counted(m.objects, "object")));
  if (m.file_bytes > 0) out.To(2).Line(fmt::format("beside it {} of read-only pages of files", Bytes(m.file_bytes)), Style::kFaint);
  for (const std::string& note : m.notes) out.To(2).Line(note, Style::kFaint);
}

void WriteContainers(const std::vector<ContainerWaste>& containers, JsonWriter& json) {
  json.Array();
  for (const ContainerWaste& c : containers) {
    json.Object().String("kind", c.kind).Unsigned("objects", c.objects).Unsigned("empty", c.empty).Unsigned("capacity", c.capacity).Unsigned("used", c.used);
    json.Unsigned("unused_bytes", c.unused_bytes).Key("largest").Array();
    for (const ContainerWaste::Largest& l : c.largest) {
      json.Object().Hex("address", l.address).String("type", l.type).Unsigned("capacity", l.capacity).Unsigned("used", l.used).Unsigned("unused_bytes", l.unused_bytes).EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
}

void WriteDuplicates(const std::vector<Duplicate>& duplicates, JsonWriter& json) {
  json.Array();
  for (const Duplicate& d : duplicates) {
    json.Object().String("kind", d.kind).Unsigned("objects", d.objects).Unsigned("bytes", d.bytes).Unsigned("surplus_bytes", d.surplus_bytes).Unsigned("length", d.length);
    json.Hex("example", d.example).Key("value");
    d.value ? json.String(*d.value) : json.Null();
    json.EndObject();
  }
  json.EndArray();
}

void WriteMemory(const MemoryUse& m, JsonWriter& json) {
  json.Object().Unsigned("bytes", m.bytes).Unsigned("file_bytes", m.file_bytes).Unsigned("objects", m.objects).Unsigned("object_bytes", m.object_bytes).Key("parts").Array();
  for (const MemoryPart& p : m.parts) {
    if (p.bytes == 0) continue;
    json.Object().String("what", p.what).Unsigned("bytes", p.bytes).Key("count");
    p.count ? json.Unsigned(*p.count) : json.Null();
    json.EndObject();
  }
  json.EndArray().Key("notes").Array();
  for (const std::string& note : m.notes) json.String(note);
  json.EndArray().EndObject();
}

}  // namespace

std::string ZeroPagesText(const MemoryUse& m) {
  std::string out;
  if (m.zero_bytes != 0) out = fmt::format("{} in pages of zeroes: never touched, given back, or filled with zeroes (a core does not tell which)", Bytes(m.zero_bytes));
  if (m.reserved_bytes != 0) out += fmt::format("{}{} of reserved address space, which nobody may use", out.empty() ? "" : ", and ", Bytes(m.reserved_bytes));
  return out;
}

std::string ContentsText(const Suspect& s) {
  std::string out;
  for (const Suspect::Contents& c : s.contents) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", Thousands(c.objects), c.type);
  return out;
}

void WriteSuspects(const std::vector<Suspect>& suspects, JsonWriter& json) {
  json.Key("suspects").Array();
  for (const Suspect& s : suspects) {
    json.Object().String("type", s.type).Unsigned("objects", s.objects).Key("address");
    s.address == 0 ? json.Null() : json.Hex(s.address);
    json.Key("name");
    s.name.empty() ? json.Null() : json.String(s.name);
    json.Unsigned("retained", s.retained).Unsigned("retained_objects", s.retained_objects).Key("pile");
    if (s.pile == 0) {
      json.Null();
    } else {
      json.Object().Hex("address", s.pile).String("type", s.pile_type).Unsigned("retained", s.pile_retained).Unsigned("parts", s.pile_parts).EndObject();
    }
    if (s.nested > 0) json.Unsigned("nested", s.nested);
    json.String("path", s.path).Key("expression");
    s.expression.empty() ? json.Null() : json.String(s.expression);
    json.Key("keywords").Array();
    for (const std::string& word : s.keywords) json.String(word);
    json.EndArray().Key("contents").Array();
    for (const Suspect::Contents& c : s.contents) json.Object().String("type", c.type).Unsigned("objects", c.objects).EndObject();
    json.EndArray().EndObject();
  }
  json.EndArray();
}

std::string WriteCsv(const HeapReport& r) {
  std::string out;
  const bool by_site = r.by == "site";
  std::vector<std::string> head{r.by, "objects", "bytes", "retained", "unreachable"};
  if (by_site) head.insert(head.end(), {"traced_blocks", "traced_bytes"});
  AppendCsvRow(head, out);
  for (const HeapRow& row : r.rows) {
    std::vector<std::string> cells{row.type, std::to_string(row.objects), std::to_string(row.bytes), r.with_retained ? std::to_string(row.retained) : "", std::to_string(row.unreachable)};
    if (by_site) cells.insert(cells.end(), {std::to_string(row.traced_blocks), std::to_string(row.traced_bytes)});
    AppendCsvRow(cells, out);
  }
  return out;
}

void WriteText(const Header& h, const HeapReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  if (r.memory) WriteMemory(*r.memory, out);
  for (std::size_t i = 0; i < r.suspects.size(); ++i) WriteSuspect(r.suspects[i], i + 1, r.reachable_bytes, out);
  out.Line();
  const char* const at_least = h.complete ? "" : "at least ";
  out.Line(fmt::format("{0}{1} of {0}{2}, {0}{3}", at_least, Counted(r.objects, "object"), Counted(r.type_count, r.by), Bytes(r.bytes)), Style::kHeading);
  if (!h.complete) out.To(2).Line(kPartialFigures, Style::kFaint);
  if (r.unreachable > 0) out.To(2).Line(fmt::format("{} unreachable, {} (pygc leaks)", Thousands(r.unreachable), Bytes(r.unreachable_bytes)), Style::kWaiting);
  if (r.only_unreachable > 0) {
    out.To(2).Line(fmt::format("{} more, {}, that only unreachable ones refer to: they are retained by nothing in use", Thousands(r.only_unreachable), Bytes(r.only_unreachable_bytes)), Style::kWaiting);
  }
  if (r.unknown_sizes > 0) {
    std::vector<std::string> types;
    for (const HeapReport::UnknownSize& u : r.unknown_types) types.push_back(fmt::format("{} {}", Thousands(u.objects), u.type));
    std::uint64_t named = 0;
    for (const HeapReport::UnknownSize& u : r.unknown_types) named += u.objects;
    if (named < r.unknown_sizes && named > 0) types.push_back("…");
    out.To(2).Add(fmt::format("{} whose size cannot be known, taken as 0{}", Counted(r.unknown_sizes, "object"), types.empty() ? "" : ": ")).Flow(types, ", ", 4);
  }
  if (!r.no_sites.empty()) out.To(2).Line(r.no_sites, Style::kWaiting);
  if (r.traced_blocks > 0) out.To(2).Line(fmt::format("tracemalloc traced {}, {}", Counted(r.traced_blocks, "block"), Bytes(r.traced_bytes)));
  out.Line();
  const bool by_site = r.by == "site";
  Table table;
  table.right = by_site ? std::vector<bool>{true, true, true, true, true, true, false} : std::vector<bool>{true, true, true, true, false};
  table.rows.push_back(by_site ? std::vector<std::string>{"objects", "shallow", "share", "retained", "blocks", "traced", r.by}
                               : std::vector<std::string>{"objects", "shallow", "share", "retained", r.by});
  for (const HeapRow& row : r.rows) {
    std::vector<std::string>& cells = table.rows.emplace_back(
        std::vector<std::string>{Thousands(row.objects), Bytes(row.bytes), Share(row.bytes, r.bytes), r.with_retained ? Bytes(row.retained) : "?"});
    if (by_site) cells.insert(cells.end(), {Thousands(row.traced_blocks), Bytes(row.traced_bytes)});
    cells.push_back(row.type);
  }
  if (!r.rows.empty()) table.Write(out, 2);
  if (!r.nearest_types.empty()) out.To(2).Add("types with objects: ", Style::kFaint).Flow(r.nearest_types, ", ", 4);
  if (r.type_count > r.rows.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.type_count - r.rows.size(), r.by)), Style::kFaint);
  if (r.containers) WriteContainers(*r.containers, out);
  if (r.duplicates) WriteDuplicates(r, out);
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const HeapReport& r, JsonWriter& json) {
  json.Object().Unsigned("objects", r.objects).Unsigned("bytes", r.bytes).Unsigned("unreachable", r.unreachable).Unsigned("unreachable_bytes", r.unreachable_bytes);
  json.Unsigned("only_unreachable", r.only_unreachable).Unsigned("only_unreachable_bytes", r.only_unreachable_bytes);
  json.Unsigned("unknown_sizes", r.unknown_sizes).Key("unknown_types").Array();
  for (const HeapReport::UnknownSize& u : r.unknown_types) json.Object().String("type", u.type).Unsigned("objects", u.objects).EndObject();
  json.EndArray().Unsigned("type_count", r.type_count).Key("types").Array();
  for (const HeapRow& row : r.rows) {
    json.Object().String("type", row.type).Unsigned("objects", row.objects).Unsigned("bytes", row.bytes).Key("retained");
    r.with_retained ? json.Unsigned(row.retained) : json.Null();
    json.Unsigned("unreachable", row.unreachable).Unsigned("only_unreachable", row.only_unreachable);
    if (r.by == "site") json.Unsigned("traced_blocks", row.traced_blocks).Unsigned("traced_bytes", row.traced_bytes);
    json.EndObject();
  }
  json.EndArray().String("by", r.by);
  if (r.by == "site") {
    json.Unsigned("traced_blocks", r.traced_blocks).Unsigned("traced_bytes", r.traced_bytes).Key("no_sites");
    r.no_sites.empty() ? json.Null() : json.String(r.no_sites);
  }
  if (!r.nearest_types.empty()) {
    json.Key("nearest_types").Array();
    for (const std::string& name : r.nearest_types) json.String(name);
    json.EndArray();
  }
  WriteSuspects(r.suspects, json);
  json.Key("containers");
  r.containers ? WriteContainers(*r.containers, json) : static_cast<void>(json.Null());
  json.Key("duplicates");
  r.duplicates ? WriteDuplicates(*r.duplicates, json) : static_cast<void>(json.Null());
  json.Unsigned("duplicate_bytes", r.duplicate_bytes).Key("memory");
  r.memory ? WriteMemory(*r.memory, json) : static_cast<void>(json.Null());
  WriteCertainties(h, r.guessed, json);
  json.EndObject();
}

namespace {

std::string WordsOfRoot(const RootShare& share) {
  if (!share.name.empty()) return share.name;
  constexpr std::pair<std::string_view, const char*> kWords[] = {{"frame", "frames"},
                                                                 {"thread", "what threads have beside frames"},
                                                                 {"interpreter", "what the interpreter holds for itself"},
                                                                 {"static", "objects that are variables of C code"},
                                                                 {"count-only", "holders that were not found, and immortal objects"}};
  for (const auto& [kind, words] : kWords) {
    if (share.kind == kind) return words;
  }
  return "native memory: " + share.kind;
}

void WriteRootShares(const DominatorsReport& r, TextWriter& out) {
  if (r.by_root.empty()) return;
  out.Line().Line("by root: what is in use, each part by the root that leads to it first", Style::kHeading);
  Table table;
  table.right = {true, true, true, false};
  table.rows.push_back({"retained", "share", "objects", "root"});
  for (std::size_t i = 0; i < std::min<std::size_t>(r.by_root.size(), r.roots_shown); ++i) {
    const RootShare& share = r.by_root[i];
    table.rows.push_back({Bytes(share.retained), Share(share.retained, r.bytes), Thousands(share.objects), WordsOfRoot(share)});
  }
  table.Write(out, 2);
  if (r.by_root.size() > r.roots_shown) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.by_root.size() - r.roots_shown, "root")), Style::kFaint);
}

}  // namespace

void WriteText(const Header& h, const DominatorsReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  const char* const at_least = h.complete ? "" : "at least ";
  out.Line(fmt::format("{0}{1} in use, {0}{2}", at_least, Counted(r.objects, "object"), Bytes(r.bytes)), Style::kHeading);
  if (!h.complete) out.To(2).Line(kPartialFigures, Style::kFaint);
  out.Line();
  Table table;
  table.right = {true, true, true, true, false};
  table.rows.push_back({"retained", "share", "objects", "own", "object"});
  std::uint64_t tops = 0;
  for (const Dominator& d : r.rows) {
    tops += d.depth == 0;
    const std::string what = fmt::format("{}{}{}{}{} at {:#x}{}{}", std::string(std::size_t{2} * ShownDepth(d.depth), ' '), LevelText(d.depth), d.type, d.name.empty() ? "" : " ", d.name, d.address, d.path.empty() ? "" : ": ", d.path);
    const std::string hidden = d.hidden == 0 ? "" : fmt::format("  … {} more below, {}", Thousands(d.hidden), Bytes(d.hidden_bytes));
    table.rows.push_back({Bytes(d.retained), Share(d.retained, r.bytes), Thousands(d.objects), Bytes(d.size), what + hidden});
  }
  table.Write(out, 2);
  if (r.top_count > tops) out.To(2).Line(fmt::format("… {} more that only a root holds (--limit 0 for all)", Thousands(r.top_count - tops)), Style::kFaint);
  WriteRootShares(r, out);
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const DominatorsReport& r, JsonWriter& json) {
  json.Object().Unsigned("objects", r.objects).Unsigned("bytes", r.bytes).Unsigned("top_count", r.top_count).Key("dominators").Array();
  for (const Dominator& d : r.rows) {
    json.Object().Unsigned("depth", d.depth).Hex("address", d.address).String("type", d.type).Key("name");
    d.name.empty() ? json.Null() : json.String(d.name);
    json.Unsigned("size", d.size).Unsigned("retained", d.retained).Unsigned("objects", d.objects).Key("path");
    d.path.empty() ? json.Null() : json.String(d.path);
    json.Unsigned("hidden", d.hidden).Unsigned("hidden_bytes", d.hidden_bytes).EndObject();
  }
  json.EndArray().Key("by_root").Array();
  for (const RootShare& share : r.by_root) {
    json.Object().String("kind", share.kind).Key("name");
    share.name.empty() ? json.Null() : json.String(share.name);
    json.Unsigned("retained", share.retained).Unsigned("objects", share.objects).EndObject();
  }
  json.EndArray();
  WriteCertainties(h, r.guessed, json);
  json.EndObject();
}

}  // namespace pygc::report
